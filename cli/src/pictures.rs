//! Packs the folders of pictures that a study names: all pictures of one size in one file, which is registered like any other.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use trawl_dataset::{Features, PICTURE_BYTES_MAX, PICTURES, Resize, read_picture};
use trawl_domain::limits::{DATASET_BYTES_MAX, PICTURE_SIDE_MAX};
use trawl_proto::v1::{PictureDataset, dataset::Kind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::Error;
use crate::study_file::StudyFile;

const TRAIN: &str = "dataset.pictures.train";
const VALIDATION: &str = "dataset.pictures.validation";
/// Folders within folders, at most.
const DEPTH_MAX: usize = 32;

/// A picture of a folder.
#[derive(Debug, PartialEq)]
struct Picture {
    path: PathBuf,
    /// Name of the folder that it is in, directly below the one that was named.
    class: Option<String>,
}

/// Packs them, and puts the packed files in the place of the folders. The files are removed with the returned value.
///
/// # Errors
/// A file in them that is no picture, or pictures without classes.
pub(crate) fn pack(file: &mut StudyFile) -> Result<Vec<TempPath>, Error> {
    let kind = file.study.dataset.as_mut().and_then(|dataset| dataset.kind.as_mut());
    let Some(Kind::Pictures(pictures)) = kind else {
        return Ok(Vec::new());
    };
    let mut packed = Vec::new();
    for named in &mut file.paths {
        let folder = PathBuf::from(&named.path);
        // Wrong settings are reported later, with all other errors.
        if !folder.is_dir()
            || !(1..=PICTURE_SIDE_MAX).contains(&pictures.size)
            || ![0, 1, 3].contains(&pictures.channels)
        {
            continue;
        }
        let wrong = |reason: String| Error::Usage(format!("{}: {}: {reason}", named.field, named.written));
        let found = find(&folder).map_err(wrong)?;
        if named.field == TRAIN && pictures.classes.is_empty() {
            pictures.classes = classes(&found).map_err(wrong)?;
        }
        let file = write(&found, pictures).map_err(wrong)?;
        named.path = file.to_string_lossy().into_owned();
        packed.push(file);
    }
    for named in &file.paths {
        match named.field {
            TRAIN => pictures.train.clone_from(&named.path),
            VALIDATION => pictures.validation.clone_from(&named.path),
            _ => pictures.test.clone_from(&named.path),
        }
    }
    Ok(packed)
}

/// The pictures of a folder by their paths.
fn find(folder: &Path) -> Result<Vec<Picture>, String> {
    let mut pictures = Vec::new();
    visit(folder, None, 0, &mut pictures)?;
    if pictures.is_empty() {
        return Err("has no pictures".to_owned());
    }
    if let Some(alone) = pictures.iter().find(|picture| picture.class.is_none())
        && pictures.iter().any(|picture| picture.class.is_some())
    {
        return Err(format!(
            "{} is in no folder of a class, and others are: put it into one",
            alone.path.display()
        ));
    }
    Ok(pictures)
}

fn visit(folder: &Path, class: Option<&str>, depth: usize, pictures: &mut Vec<Picture>) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", folder.display());
    if depth > DEPTH_MAX {
        return Err(format!("{} is too deep: at most {DEPTH_MAX} folders", folder.display()));
    }
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    // In one order on every machine.
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name
            .ok_or_else(|| format!("{} has a name that is not UTF-8", path.display()))?
            .to_owned();
        // Files that file managers leave.
        if name.starts_with('.') || name == "Thumbs.db" || name == "__MACOSX" {
            continue;
        }
        if path.is_dir() {
            visit(&path, Some(class.unwrap_or(&name)), depth + 1, pictures)?;
        } else {
            pictures.push(Picture {
                path,
                class: class.map(str::to_owned),
            });
        }
    }
    Ok(())
}

/// The classes of training pictures, ascending.
fn classes(pictures: &[Picture]) -> Result<Vec<String>, String> {
    let mut classes: Vec<String> = pictures.iter().filter_map(|picture| picture.class.clone()).collect();
    classes.sort();
    classes.dedup();
    if classes.len() < 2 {
        return Err("needs a folder for each class, and two of them at least".to_owned());
    }
    Ok(classes)
}

/// Writes pictures and their labels as arrays.
fn write(found: &[Picture], settings: &PictureDataset) -> Result<TempPath, String> {
    let channels = if settings.channels == 0 { 3 } else { settings.channels };
    let bytes = found.len() as u64 * u64::from(channels) * u64::from(settings.size).pow(2);
    if bytes > DATASET_BYTES_MAX {
        return Err(format!(
            "its {} pictures would be {bytes} bytes, and {DATASET_BYTES_MAX} are allowed: name a smaller size",
            found.len()
        ));
    }
    let label = |picture: &Picture| match &picture.class {
        None => Ok(None),
        Some(class) => match settings.classes.iter().position(|known| known == class) {
            Some(label) => Ok(Some(label as u32)),
            None => Err(format!(
                "has a folder '{class}', which is no class of the training pictures"
            )),
        },
    };
    let labels: Option<Vec<u32>> = found.iter().map(label).collect::<Result<_, _>>()?;
    let broken = |error: &dyn std::fmt::Display| format!("cannot be packed: {error}");
    let file = tempfile::NamedTempFile::new().map_err(|error| broken(&error))?;
    let (file, path) = file.into_parts();
    let mut archive = ZipWriter::new(BufWriter::new(file));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let array = |archive: &mut ZipWriter<BufWriter<File>>, name: &str, descr: &str, shape: &str| {
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(|error| broken(&error))?;
        archive
            .write_all(&npy_header(descr, shape))
            .map_err(|error| broken(&error))
    };
    let (rows, size) = (found.len(), settings.size);
    array(
        &mut archive,
        PICTURES[0],
        "|u1",
        &format!("({rows}, {channels}, {size}, {size})"),
    )?;
    for picture in found {
        let pixels =
            pixels(&picture.path, channels, size).map_err(|reason| format!("{} {reason}", picture.path.display()))?;
        archive.write_all(&pixels).map_err(|error| broken(&error))?;
    }
    if let Some(labels) = labels {
        array(&mut archive, PICTURES[1], "<u4", &format!("({rows},)"))?;
        let bytes: Vec<u8> = labels.into_iter().flat_map(u32::to_le_bytes).collect();
        archive.write_all(&bytes).map_err(|error| broken(&error))?;
    }
    let written = archive.finish().map_err(|error| broken(&error))?;
    written.into_inner().map_err(|error| broken(&error))?;
    Ok(path)
}

fn pixels(path: &Path, channels: u32, size: u32) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let read = file.take(PICTURE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > PICTURE_BYTES_MAX {
        return Err(format!("is larger than {PICTURE_BYTES_MAX} bytes"));
    }
    match read_picture(&bytes, channels, size, size, Some(Resize::Crop))?.features {
        Features::Bytes(pixels) => Ok(pixels),
        Features::Floats(_) | Features::Whole(_) => Err("has no pixels".to_owned()),
    }
}

/// As numpy.save writes it, in version 1.0 of the format.
fn npy_header(descr: &str, shape: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use trawl_dataset::{
        Allowance, Content, FileContent, Format, Known, Part, Role, Samples, Scale, TargetKind, Targets, read,
    };

    use super::*;

    /// A square of one shade.
    fn png(shade: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 6, 6);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&[shade; 36]).expect("pixels");
        writer.finish().expect("written");
        file
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        folder
    }

    fn settings(classes: &[&str]) -> PictureDataset {
        PictureDataset {
            size: 3,
            channels: 1,
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            ..PictureDataset::default()
        }
    }

    fn samples(packed: &TempPath, classes: &[String], role: Role<'_>) -> Samples {
        let content = FileContent::new(File::open(packed).expect("a file")).expect("content");
        let part = Part {
            features: &content as &dyn Content,
            targets: None,
        };
        let format = Format::Pictures(classes.to_vec(), Scale::None);
        read(&format, TargetKind::Class, role, part, &mut Allowance::whole()).expect("samples")
    }

    #[test]
    fn a_folder_is_read_as_its_pictures_and_classes() {
        let files = [
            ("dog/b.png", png(200)),
            ("cat/deep/a.png", png(10)),
            ("cat/z.png", png(20)),
            (".DS_Store", vec![0]),
        ];
        let train = folder(&files);
        let found = find(train.path()).expect("pictures");
        let classes = classes(&found).expect("classes");
        assert_eq!(classes, ["cat", "dog"]);
        let settings = settings(&["cat", "dog"]);
        let packed = write(&found, &settings).expect("packed");
        let read = samples(&packed, &classes, Role::Train);
        assert_eq!((read.rows, read.shape.dims()), (3, vec![1, 3, 3]));
        assert_eq!(
            read.targets,
            Some(Targets::Classes {
                labels: vec![0, 0, 1],
                names: classes.clone()
            })
        );
        let Features::Bytes(pixels) = &read.features else {
            panic!("no bytes")
        };
        assert_eq!(pixels[..9], [10; 9]);
        // The same folder is the same file.
        let again = write(&found, &settings).expect("packed");
        assert_eq!(fs::read(&packed).expect("a file"), fs::read(&again).expect("a file"));

        let unlabelled = folder(&[("1.png", png(1)), ("2.png", png(2))]);
        let packed = write(&find(unlabelled.path()).expect("pictures"), &settings).expect("packed");
        let known = Known {
            classes: Some(classes.clone()),
            inputs: None,
        };
        assert_eq!(samples(&packed, &classes, Role::Test(&known)).targets, None);
    }

    #[test]
    fn what_cannot_be_packed_says_why() {
        let wrong = |files: &[(&str, Vec<u8>)]| {
            let folder = folder(files);
            let packed = find(folder.path()).and_then(|found| write(&found, &settings(&["cat", "dog"])));
            let reason = packed.expect_err("not packed");
            reason.replace(&format!("{}/", folder.path().display()), "")
        };
        assert_eq!(
            wrong(&[("cat/a.txt", b"meow".to_vec())]),
            "cat/a.txt is neither PNG nor JPEG: its first bytes are others"
        );
        assert_eq!(
            wrong(&[("cow/a.png", png(1))]),
            "has a folder 'cow', which is no class of the training pictures"
        );
        assert_eq!(
            wrong(&[("cat/a.png", png(1)), ("b.png", png(1))]),
            "b.png is in no folder of a class, and others are: put it into one"
        );
        assert_eq!(wrong(&[("cat/.hidden", vec![])]), "has no pictures");
        let only = folder(&[("cat/a.png", png(1))]);
        assert_eq!(
            classes(&find(only.path()).expect("pictures")),
            Err("needs a folder for each class, and two of them at least".to_owned())
        );
    }
}
