//! `trawl artifacts`: the files that refits and the best trials left, listed or fetched.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tonic::Request;
use trawl_dataset::FileHasher;
use trawl_proto::v1::{Artifact, GetArtifactRequest, ListArtifactsRequest};

use crate::args::ArtifactsArgs;
use crate::client::{Client, UPLOAD_TIMEOUT, unary};
use crate::error::{Error, say};
use crate::output::{Cell, Column, Listing, Output, Page, shown};

/// Length of a file's name, as most file systems have it.
const NAME_BYTES_MAX: usize = 255;

/// Lists the artifacts of a study, or fetches the artifacts of one refit or trial.
pub(super) async fn artifacts(client: &mut Client, args: &ArtifactsArgs, output: &mut Output) -> Result<(), Error> {
    match &args.output {
        Some(folder) => fetch(client, args, folder, output).await,
        None => {
            let page = async |token| page(client, &args.study, token).await;
            listing().print(args.format.into(), output, page).await
        }
    }
}

async fn page(client: &mut Client, study: &str, page_token: String) -> Result<Page<Artifact>, Error> {
    let request = ListArtifactsRequest {
        study: study.to_owned(),
        page_size: 500,
        page_token,
    };
    let answer = client.list_artifacts(unary(request)).await?.into_inner();
    Ok(Page {
        items: answer.artifacts,
        next_page_token: answer.next_page_token,
    })
}

fn listing() -> Listing<Artifact> {
    let column = |name: &str, cell: fn(&Artifact) -> Cell| Column::new(name, cell);
    let columns = vec![
        column("refit", |artifact| artifact.refit.map_or(Cell::Absent, Cell::count)).titled("refit"),
        column("trial", |artifact| artifact.trial.map_or(Cell::Absent, Cell::count)).titled("trial"),
        column("kind", |artifact| Cell::text(&artifact.kind)).titled("kind"),
        column("name", |artifact| Cell::text(&artifact.name)).titled("name"),
        column("bytes", |artifact| Cell::count(artifact.bytes)).titled("bytes"),
        column("sha256", |artifact| Cell::text(&artifact.sha256)),
        column("created_at", |artifact| Cell::time(artifact.created_at)).titled("created (UTC)"),
    ];
    Listing {
        plural: "artifacts",
        columns,
    }
}

/// Writes the files that were asked for into a folder, which is made if it is missing.
async fn fetch(client: &mut Client, args: &ArtifactsArgs, folder: &Path, output: &mut Output) -> Result<(), Error> {
    let mut wanted = Vec::new();
    let mut token = String::new();
    loop {
        let page = page(client, &args.study, token).await?;
        wanted.extend(page.items.into_iter().filter(|artifact| {
            let is_owners = match args.refit {
                Some(_) => artifact.refit == args.refit,
                None => args.trial.is_some() && artifact.trial == args.trial,
            };
            is_owners && args.name.as_ref().is_none_or(|name| *name == artifact.name)
        }));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    if wanted.is_empty() {
        return Err(Error::Failed(format!("study {} has no such artifact", args.study)));
    }
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::Failed(format!("cannot make {}: {error}", folder.display())))?;
    let (named_well, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|artifact| is_file_name(&artifact.name));
    for artifact in named_well {
        let path = fetch_one(client, &args.study, artifact, folder).await?;
        output.line(&format!("artifact {path}"))?;
    }
    output.flush()?;
    if others.is_empty() {
        return Ok(());
    }
    for artifact in &others {
        say(&format!(
            "artifact {} is left out: its name is none for a file",
            shown(&artifact.name)
        ));
    }
    Err(Error::Failed(format!(
        "{} of {} artifacts were left out",
        others.len(),
        wanted.len()
    )))
}

/// True for a name that stays in its folder, is not hidden there, and is no option of a command.
fn is_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with(['.', '-'])
}

/// Writes one file into a folder, whole or not at all; gives its path.
pub(super) async fn fetch_one(
    client: &mut Client,
    study: &str,
    artifact: &Artifact,
    folder: &Path,
) -> Result<String, Error> {
    let name = &artifact.name;
    if !is_file_name(name) {
        return Err(Error::Failed("an artifact has a name that is none for a file".into()));
    }
    let path = folder.join(name);
    // Not after the artifact: its name may be as long as one can be.
    let draft = folder.join(format!(".trawl-draft-{}", std::process::id()));
    let written = write(client, study, artifact, &draft).await.and_then(|()| {
        std::fs::rename(&draft, &path)
            .map_err(|error| Error::Failed(format!("cannot write {}: {error}", path.display())))
    });
    if written.is_err() {
        // The first error is the one to report, whether or not there is a draft to remove.
        let _ = std::fs::remove_file(&draft);
    }
    written.map(|()| path.display().to_string())
}

/// Writes the bytes as they come, and checks that they are the right ones.
async fn write(client: &mut Client, study: &str, artifact: &Artifact, draft: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Failed(format!("cannot write {}: {error}", draft.display()));
    let mut request = Request::new(GetArtifactRequest {
        study: study.to_owned(),
        refit: artifact.refit,
        trial: artifact.trial,
        name: artifact.name.clone(),
    });
    request.set_timeout(UPLOAD_TIMEOUT);
    let mut pieces = client.get_artifact(request).await?.into_inner();
    let mut file = File::create(draft).map_err(failed)?;
    let mut hasher = FileHasher::default();
    let mut bytes = 0;
    while let Some(piece) = pieces.message().await? {
        bytes += piece.chunk.len() as u64;
        if bytes > artifact.bytes {
            break;
        }
        hasher.update(&piece.chunk);
        file.write_all(&piece.chunk).map_err(failed)?;
    }
    if bytes != artifact.bytes || hasher.finish().to_string() != artifact.sha256 {
        return Err(Error::Failed(format!(
            "what came of artifact {} is not what was listed; it may just have been replaced",
            artifact.name
        )));
    }
    file.sync_all().map_err(failed)
}
