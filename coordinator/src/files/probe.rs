//! Probes an object store: whether it takes, gives and removes a small object, and if not, why and what helps.

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::timeout;

use super::{Files, FilesError, STATUS};

/// Content of a probe.
const PROBE: &[u8] = b"trawl";
/// Time limit of a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// What helps where a bucket refuses its caller.
const KEYS: &str =
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be allowed to write, read and delete objects there";

/// Why a probe did not pass. Each message begins with the store's place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The store has no space; reading and removing may work.
    #[error("{0}")]
    Full(String),
    /// The store refuses, and no later try fares better with these settings. The message says what helps.
    #[error("{0}")]
    Refused(String),
    /// No answer, or one that a later try may not get.
    #[error("{0}")]
    Away(String),
}

impl Files {
    /// Writes a small object under this key, reads it and removes it.
    ///
    /// # Errors
    /// One of the three did not work; the object may exist, unless the store is full.
    pub async fn probe(&self, key: &str) -> Result<(), ProbeError> {
        let path = Path::from(key);
        let passes = async {
            self.probed.put(&path, PutPayload::from_static(PROBE)).await?;
            let read = self.probed.get(&path).await?.bytes().await?;
            self.probed.delete(&path).await?;
            Ok::<_, FilesError>(read[..] == *PROBE)
        };
        match timeout(PROBE_WITHIN, passes).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(ProbeError::Refused(format!(
                "{}: it gives other bytes than it took",
                self.place
            ))),
            Ok(Err(error)) => Err(self.judge(&error)),
            Err(_) => Err(ProbeError::Away(format!(
                "{}: no answer within {} s",
                self.place,
                PROBE_WITHIN.as_secs()
            ))),
        }
    }

    /// Tells a refusal from an absence, and says what helps.
    fn judge(&self, error: &FilesError) -> ProbeError {
        let told = format!("{}: {}", self.place, error.reason());
        let help = match error.status() {
            _ if error.is_full() => return ProbeError::Full(told),
            _ if self.folder.is_some() => "this user must be able to write, read and remove files there",
            Some(401 | 403) => KEYS,
            // Objects are deleted by a call for many, whose answer has a code for each.
            None if told.contains("AccessDenied") => KEYS,
            Some(404) => "make the bucket, or correct its name or AWS_ENDPOINT_URL",
            Some(408 | 429 | 500..) => return ProbeError::Away(told),
            Some(_) => "AWS_REGION and AWS_ENDPOINT_URL must be the bucket's",
            None if error.is_unsent() => "an endpoint without TLS needs AWS_ALLOW_HTTP=true",
            None => return ProbeError::Away(told),
        };
        ProbeError::Refused(format!("{told}; {help}"))
    }
}

impl FilesError {
    /// The status of a bucket's answer.
    fn status(&self) -> Option<u16> {
        self.to_string().split_once(STATUS)?.1.get(..3)?.parse().ok()
    }

    /// True if the client refused to send a request.
    fn is_unsent(&self) -> bool {
        self.causes().any(|cause| {
            let request = cause.downcast_ref::<reqwest::Error>();
            request.is_some_and(|request| request.is_builder())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_leaves_nothing_and_says_why_it_did_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let files = Files::open(&url).unwrap();
        assert_eq!(files.probe("probes/1").await, Ok(()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // A file in the way stops root, too.
        std::fs::write(folder.path().join("probes"), "").unwrap();
        let told = format!(
            "{url}: Not a directory (os error 20); this user must be able to write, read and remove files there"
        );
        assert_eq!(files.probe("probes/1").await, Err(ProbeError::Refused(told)));
    }

    #[test]
    fn a_bucket_that_refuses_is_told_from_one_that_is_away() {
        let files = Files::in_memory();
        let judged = |said: &str| {
            let said =
                format!("Error performing PUT http://x/y in 1.2ms - Server returned non-2xx status code: {said}");
            files.judge(&FilesError::Store(object_store::Error::Generic {
                store: "S3",
                source: said.into(),
            }))
        };
        let missing = judged("404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code></Error>");
        let told = "memory: 404 Not Found, NoSuchBucket; make the bucket, or correct its name or AWS_ENDPOINT_URL";
        assert_eq!(missing, ProbeError::Refused(told.to_owned()));
        assert!(matches!(judged("403 Forbidden: "), ProbeError::Refused(told) if told.contains("AWS_ACCESS_KEY_ID")));
        let busy = judged("503 Service Unavailable: <Error><Code>SlowDown</Code></Error>");
        assert_eq!(
            busy,
            ProbeError::Away("memory: 503 Service Unavailable, SlowDown".to_owned())
        );
        assert!(matches!(judged("507 Insufficient Storage: "), ProbeError::Full(_)));
    }
}
