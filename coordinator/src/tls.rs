//! TLS of both ports, from PEM files that are read once, at the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Paths of the operator's files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificates, the coordinator's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities that must have signed clients' certificates; without them, clients need none.
    pub client_ca: Option<PathBuf>,
}

/// TLS in the forms that the two ports take.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Of gRPC.
    pub grpc: ServerTlsConfig,
    /// Of the web port.
    pub web: Arc<ServerConfig>,
    /// When the first of its certificates ends, in seconds since 1970; `None` if that cannot be read.
    pub ends_at: Option<i64>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key does not fit the certificate.
    pub fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let certs = certificates(&files.cert).context("--tls-cert")?;
        let ends_at = certs.iter().filter_map(ends_at).min();
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .with_context(|| format!("--tls-key: {} holds no private key in PEM", files.key.display()))?;
        let builder = match &files.client_ca {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(file).context("--tls-client-ca")? {
                    roots.add(root).context("--tls-client-ca")?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        let mut web = builder
            .with_single_cert(certs, key)
            .context("--tls-key is not the key of --tls-cert")?;
        web.alpn_protocols = vec![b"http/1.1".to_vec()];

        let identity = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
        let mut grpc = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_WITHIN);
        if let Some(file) = &files.client_ca {
            grpc = grpc.client_ca_root(Certificate::from_pem(read(file)?));
        }
        Ok(Self {
            grpc,
            web: Arc::new(web),
            ends_at,
        })
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", file.display()))?;
    ensure!(
        !certificates.is_empty(),
        "{} holds no certificate in PEM",
        file.display()
    );
    Ok(certificates)
}

/// When a certificate ends, in seconds since 1970.
fn ends_at(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
