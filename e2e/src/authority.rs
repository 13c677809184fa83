//! A certificate authority for tests of TLS: its certificates and keys are files in a folder of its own.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::files::text;

/// An authority.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct CertFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl CertFiles {
    /// As flags of the binaries.
    ///
    /// # Errors
    /// A path that is no text.
    pub fn flags(&self) -> anyhow::Result<[&str; 4]> {
        Ok(["--tls-cert", text(&self.cert)?, "--tls-key", text(&self.key)?])
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self {
            folder,
            issuer: Issuer::new(params, key),
        })
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate of it for a server of that name.
    ///
    /// # Errors
    /// It is no name, or the files cannot be written.
    pub fn server(&self, name: &str) -> anyhow::Result<CertFiles> {
        self.certify("server", name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate of it for a client.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn client(&self) -> anyhow::Result<CertFiles> {
        self.certify("client", "client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certify(&self, file: &str, name: &str, usage: ExtendedKeyUsagePurpose) -> anyhow::Result<CertFiles> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let files = CertFiles {
            cert: self.folder.path().join(format!("{file}.pem")),
            key: self.folder.path().join(format!("{file}.key")),
        };
        std::fs::write(&files.cert, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}
