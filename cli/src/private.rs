//! The token of a `trawl up --private`, which the same user's `trawl` finds by itself: a file that nobody else can read, named after
//! the address that it is for.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use tonic::transport::Uri;
use trawl_domain::secret::Secret;
use trawl_proto::credential;

use crate::error::Error;
use crate::folders::{user_dir, write_secret};

/// A token that can be found as long as this lives. A token that a killed process left behind opens nothing, as each run has its own.
#[derive(Debug)]
pub(crate) struct Published {
    file: PathBuf,
}

/// A token that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) token: Secret,
    /// Where to send it. A name of loopback has several addresses, and somebody else may listen at the others.
    pub(crate) url: String,
}

/// Lets the token of a coordinator at this address be found.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn publish(address: SocketAddr, token: &Secret) -> Result<Published, Error> {
    let file = file_of(address)?;
    let write = || -> io::Result<()> {
        if let Some(folder) = file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        write_secret(&file, token)
    };
    write().map_err(|error| Error::Failed(format!("cannot write {}: {error}", file.display())))?;
    Ok(Published { file })
}

impl Drop for Published {
    fn drop(&mut self) {
        // The system refuses a second listener at this address, so the file is this one's.
        let _ = fs::remove_file(&self.file);
    }
}

/// The token for a coordinator of this machine, if its `trawl up` left one for this user.
pub(crate) fn find(server: &str) -> Option<Found> {
    let uri: Uri = server.parse().ok()?;
    let (port, host) = (uri.port_u16()?, uri.host()?);
    let is_name = host.eq_ignore_ascii_case("localhost");
    let addresses = if is_name {
        vec![IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
    } else {
        let address: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        address.is_loopback().then_some(address).into_iter().collect()
    };
    addresses.into_iter().find_map(|address| {
        let address = SocketAddr::new(address, port);
        let token = credential::from_file("the token of `trawl up --private`", &file_of(address).ok()?).ok()?;
        // The certificate of a coordinator that speaks TLS is for the name, and identifies it.
        let url = match uri.scheme_str() {
            Some("https") => server.to_owned(),
            _ if is_name => format!("http://{address}"),
            _ => server.to_owned(),
        };
        Some(Found { token, url })
    })
}

fn file_of(address: SocketAddr) -> Result<PathBuf, Error> {
    let name = format!("{}_{}.token", address.ip(), address.port());
    Ok(user_dir("XDG_DATA_HOME", ".local/share")?
        .join("trawl/private")
        .join(name))
}
