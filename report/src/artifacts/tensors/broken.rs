//! Files with flipped bytes and torn ends: each is read as it is or refused by name, without a panic, and without more memory
//! than the file accounts for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;

use trawl_domain::seed::{Purpose, Seed, Stream};

use super::*;
use crate::sample::{bytes, safetensors};

const FILES: usize = 10_000;
/// What reading takes beside the file's contents: the header as a tree, messages.
const OVERHEAD_BYTES: usize = 32 << 10;

/// Counts what a thread has allocated, and the most that ever was: other tests run beside this one.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise")]
// SAFETY: everything is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.get().wrapping_add(layout.size());
        NOW.set(now);
        MOST.set(MOST.get().max(now));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // What another thread allocated may end here.
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Four images of one channel, 62 x 62, and three filters of 3 x 3: far more than what is allowed beside it.
fn sound() -> Vec<u8> {
    let floats = |count: u16| bytes(&(0..count).map(f32::from).collect::<Vec<_>>(), f32::to_le_bytes);
    let tensors = [
        ("rows", vec![4], bytes(&[7_i64, 9, 11, 13], i64::to_le_bytes)),
        ("labels", vec![4], bytes(&[0_i64, 1, 2, 3], i64::to_le_bytes)),
        ("predictions", vec![4], bytes(&[1_i64, 1, 2, 2], i64::to_le_bytes)),
        (
            "images",
            vec![4, 1, 62, 62],
            (0..15_376_u32).map(|pixel| pixel as u8).collect(),
        ),
        ("filters", vec![3, 1, 3, 3], floats(27)),
        ("maps", vec![4, 3, 60, 60], floats(43_200)),
        ("probabilities", vec![4], floats(4)),
    ];
    let classes = r#"["a", "b", "c", "d"]"#.to_owned();
    safetensors(&tensors, &[("classes", classes), ("layer", "0".to_owned())])
}

/// Flips one to four bits, or tears the end off, or both.
fn broken(sound: &[u8], header: usize, stream: &mut Stream) -> Vec<u8> {
    let mut file = sound.to_vec();
    let what = stream.below(3);
    if what != 0 {
        for _ in 0..=stream.below(4) {
            // Half of the flips go to the header, which says where everything is.
            let range = if stream.below(2) == 0 { header } else { file.len() };
            let place = stream.below(range as u64) as usize;
            file[place] ^= 1 << stream.below(8);
        }
    }
    if what != 1 {
        file.truncate(stream.below(file.len() as u64) as usize);
    }
    file
}

/// Where a tensor's bytes are in a sound file.
fn place(sound: &[u8], tensor: &str) -> Range<usize> {
    let tensors = SafeTensors::deserialize(sound).unwrap();
    let data = tensors.tensor(tensor).unwrap().data().as_ptr_range();
    let start = sound.as_ptr() as usize;
    data.start as usize - start..data.end as usize - start
}

/// Reads a file, and holds what that takes and what comes out against the file.
fn read<T>(number: usize, file: &[u8], parse: fn(&str, &[u8]) -> Result<T, ArtifactError>) -> Option<T> {
    let before = NOW.get();
    MOST.set(before);
    let read = parse("some.safetensors", file);
    let taken = MOST.get() - before;
    assert!(
        taken <= 2 * file.len() + OVERHEAD_BYTES,
        "file {number}: {taken} bytes of memory for {} bytes",
        file.len()
    );
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let error = error.to_string();
            let reason = error.strip_prefix("artifact some.safetensors: ").unwrap_or_default();
            assert!(!reason.is_empty() && error.len() < 1_000, "file {number}: {error}");
            None
        }
    }
}

/// A stack has as many values as its shape says.
fn is_filled<T>(stack: &Stack<T>) -> bool {
    stack.values.len() == stack.shape.iter().product::<usize>()
}

#[test]
fn broken_files_are_refused_or_read() {
    let sound = sound();
    let tensors = [
        "rows",
        "labels",
        "predictions",
        "images",
        "filters",
        "maps",
        "probabilities",
    ];
    let header = tensors
        .map(|tensor| place(&sound, tensor).start)
        .into_iter()
        .min()
        .unwrap();
    let mut stream = Seed(20_252).stream(Purpose::Folds);
    let (mut refused, mut with_its_header) = (0, 0);
    for number in 0..FILES {
        let file = broken(&sound, header, &mut stream);
        let maps = read(number, &file, FeatureMaps::parse);
        let misclassified = read(number, &file, Misclassified::parse);
        refused += usize::from(maps.is_none());
        let header_is_sound = file.len() == sound.len() && file[..header] == sound[..header];
        if let Some(maps) = maps {
            assert!(is_filled(&maps.samples.images) && is_filled(&maps.filters) && is_filled(&maps.maps));
            assert_eq!(maps.samples.rows.len(), maps.samples.images.shape[0]);
            if header_is_sound {
                with_its_header += 1;
                assert_eq!(
                    maps.samples.images.values,
                    file[place(&sound, "images")],
                    "file {number}"
                );
                let values = bytes(&maps.maps.values, f32::to_le_bytes);
                assert_eq!(values, file[place(&sound, "maps")], "file {number}");
            }
        }
        if let Some(misclassified) = misclassified.filter(|_| header_is_sound) {
            let values = bytes(&misclassified.probabilities, f32::to_le_bytes);
            assert_eq!(values, file[place(&sound, "probabilities")], "file {number}");
        }
    }
    assert!(refused > FILES / 2, "{refused} files were refused");
    assert!(
        with_its_header > FILES / 20,
        "{with_its_header} files were read with all of their header"
    );
}
