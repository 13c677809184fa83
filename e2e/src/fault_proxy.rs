//! A proxy before a coordinator; a test says how many bytes pass.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::system::wait_for;

/// Most bytes that pass at once.
const PIECE_BYTES: usize = 4 << 10;

/// Passes connections on to a coordinator, and can hold back requests or answers after any number of bytes. It closes with all connections when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// Its URL, in place of the coordinator's own.
    pub url: String,
    limits: ByteLimits,
    _connections: JoinSet<()>,
}

/// Of both directions.
#[derive(Clone, Debug)]
struct ByteLimits {
    inward: Arc<watch::Sender<Toll>>,
    outward: Arc<watch::Sender<Toll>>,
}

/// Bytes on the way to the coordinator, or from it, of all connections together.
#[derive(Clone, Copy, Debug)]
struct Toll {
    passed: u64,
    limit: u64,
    /// How often all connections were cut.
    cuts: u32,
}

impl FaultProxy {
    /// Opens one before the coordinator at this URL.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open(coordinator_url: &str) -> anyhow::Result<Self> {
        let to: SocketAddr = coordinator_url.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let toll = || {
            Arc::new(watch::Sender::new(Toll {
                passed: 0,
                limit: u64::MAX,
                cuts: 0,
            }))
        };
        let limits = ByteLimits {
            inward: toll(),
            outward: toll(),
        };
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, to, limits.clone()));
        Ok(Self {
            url,
            limits,
            _connections: connections,
        })
    }

    /// Has this many bytes more pass to the coordinator and no further one.
    pub fn close_after(&self, bytes: u64) {
        self.limits.inward.send_modify(|toll| toll.limit = toll.passed + bytes);
    }

    /// Has this many bytes of answers more pass and no further one; requests pass.
    pub fn hold_answers_after(&self, bytes: u64) {
        self.limits.outward.send_modify(|toll| toll.limit = toll.passed + bytes);
    }

    /// Waits until it has closed on the way to the coordinator.
    ///
    /// # Errors
    /// Too few bytes come.
    pub async fn closed(&self) -> anyhow::Result<()> {
        let mut changes = self.limits.inward.subscribe();
        wait_for("the bytes that a proxy lets pass", async {
            changes.wait_for(|toll| toll.passed == toll.limit).await?;
            Ok(())
        })
        .await
    }

    /// Ends all connections, with what they hold back, and lets further ones pass.
    pub fn cut(&self) {
        for toll in [&self.limits.inward, &self.limits.outward] {
            toll.send_modify(|toll| {
                toll.limit = u64::MAX;
                toll.cuts += 1;
            });
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, limits: ByteLimits) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // While no coordinator is there, a connection ends as soon as it begins.
        let Ok(coordinator) = TcpStream::connect(to).await else {
            continue;
        };
        connections.spawn(pass(client, coordinator, limits.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Passes bytes on until either side has gone, or the connection is cut: then both sides end.
async fn pass(client: TcpStream, coordinator: TcpStream, limits: ByteLimits) {
    let (from_client, to_client) = client.into_split();
    let (from_coordinator, to_coordinator) = coordinator.into_split();
    // Both were connected by somebody who waits for small messages.
    let _ = to_client.as_ref().set_nodelay(true);
    let _ = to_coordinator.as_ref().set_nodelay(true);
    // A connection that breaks is what this is for.
    let _: std::io::Result<()> = tokio::select! {
        ended = pass_one_way(from_client, to_coordinator, &limits.inward) => ended,
        ended = pass_one_way(from_coordinator, to_client, &limits.outward) => ended,
    };
}

/// Ends with its sender, its receiver, or the next cut.
async fn pass_one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    toll: &watch::Sender<Toll>,
) -> std::io::Result<()> {
    let mut changes = toll.subscribe();
    let cuts = changes.borrow().cuts;
    let passing = async {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let len = from.read(&mut piece).await?;
            if len == 0 {
                return Ok(());
            }
            let mut rest = &piece[..len];
            while !rest.is_empty() {
                let Some(taken) = take(toll, cuts, rest.len()).await else {
                    return Ok(());
                };
                to.write_all(&rest[..taken]).await?;
                rest = &rest[taken..];
            }
        }
    };
    tokio::select! {
        _ = changes.wait_for(|toll| toll.cuts != cuts) => Ok(()),
        ended = passing => ended,
    }
}

/// Waits until some of the bytes may pass; how many, and `None` once the connection is cut.
async fn take(toll: &watch::Sender<Toll>, cuts: u32, wanted: usize) -> Option<usize> {
    let mut changes = toll.subscribe();
    loop {
        let mut taken = 0;
        toll.send_if_modified(|toll| {
            if toll.cuts == cuts {
                taken = (toll.limit - toll.passed).min(wanted as u64);
                toll.passed += taken;
            }
            taken > 0
        });
        if taken > 0 {
            return Some(taken as usize);
        }
        let change = changes.wait_for(|toll| toll.cuts != cuts || toll.passed < toll.limit);
        if change.await.ok()?.cuts != cuts {
            return None;
        }
    }
}
