//! Weights with flipped bytes and torn ends: each file is read as it is or refused with a reason, without a panic, and without
//! more memory than the file accounts for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tch::Device;
use trawl_dataset::SampleShape;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::seed::{Purpose, Seed, Stream};
use trawl_engine::weights::{WeightsError, from_safetensors};
use trawl_engine::{Engine as _, Networks as _};
use trawl_engine_torch::{DeviceNetworks, Torch};

const FILES: usize = 10_000;
/// Memory for reading beside the file's contents: its header, messages.
const OVERHEAD_BYTES: usize = 64 << 10;

/// Counts allocated bytes, and their maximum.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise")]
// SAFETY: everything is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn stream() -> Stream {
    Seed(20_252).stream(Purpose::Folds)
}

fn architecture() -> Architecture {
    Architecture {
        input: SampleShape::Image {
            channels: 1,
            height: 12,
            width: 12,
        },
        layers: vec![
            Layer::Conv2d(Conv {
                filters: 8,
                kernel: 3,
                stride: 1,
                padding: 0,
            }),
            Layer::Activation(Activation::Relu),
            Layer::Flatten,
            Layer::Linear { units: 48 },
            Layer::Linear { units: 10 },
        ],
        loss: Loss::CrossEntropy,
        batch_size: 8,
        epochs: 0,
    }
}

/// A file with the tensors of these names and shapes.
fn file(shapes: &[(&str, &[usize])], dtype: Dtype) -> Vec<u8> {
    let mut stream = stream();
    let tensors: Vec<(&str, &[usize], Vec<u8>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let numbers = shape.iter().product::<usize>();
            let bytes = (0..numbers).flat_map(|_| (stream.unit() as f32).to_le_bytes());
            (*name, *shape, bytes.collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(dtype, shape.to_vec(), bytes);
        (*name, view.expect("as many numbers as the shape says"))
    });
    safetensors::serialize(views, None).expect("a file")
}

const SHAPES: [(&str, &[usize]); 6] = [
    ("0.weight", &[8, 1, 3, 3]),
    ("0.bias", &[8]),
    ("3.weight", &[48, 800]),
    ("3.bias", &[48]),
    ("4.weight", &[10, 48]),
    ("4.bias", &[10]),
];

/// Flips one to four bits, or tears the end off, or both.
fn broken(sound: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut file = sound.to_vec();
    let what = stream.below(3);
    if what != 0 {
        for _ in 0..=stream.below(4) {
            // Most flips go to the header, whose lengths and shapes are the dangerous part.
            let range = if stream.below(4) == 0 { file.len() } else { 512 };
            let place = stream.below(range as u64) as usize;
            file[place] ^= 1 << stream.below(8);
        }
    }
    if what != 1 {
        file.truncate(stream.below(file.len() as u64) as usize);
    }
    file
}

/// The tensors of a file by name.
fn tensors(file: &[u8]) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(file).expect("a sound file");
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec(), tensor.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

fn load(architecture: Architecture, file: &[u8]) -> Result<DeviceNetworks, WeightsError> {
    let parameters = from_safetensors(&architecture, file)?;
    Ok(Torch::new(Device::Cpu)
        .network(architecture, parameters, None)
        .expect("a network that fits together"))
}

// One test, as the allocator counts for the whole process.
#[test]
fn broken_weights_are_refused_or_read_as_they_are() {
    let sound = file(&SHAPES, Dtype::F32);
    let read = load(architecture(), &sound).expect("sound weights");
    assert_eq!(tensors(&read.weights(0).expect("weights")), tensors(&sound));

    let (mut stream, mut refused) = (stream(), 0);
    for number in 0..FILES {
        let file = broken(&sound, &mut stream);
        let architecture = architecture();
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let read = load(architecture, &file);
        let taken = MOST.load(Ordering::Relaxed) - before;
        assert!(
            taken <= 2 * sound.len() + OVERHEAD_BYTES,
            "file {number}: {taken} bytes of memory for {} bytes",
            sound.len()
        );
        match read {
            Ok(read) => assert_eq!(
                tensors(&read.weights(0).expect("weights")),
                tensors(&file),
                "file {number}"
            ),
            Err(error) => {
                assert!(!matches!(error, WeightsError::Network(_)), "file {number}: {error}");
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < 1_000, "file {number}: {text}");
                refused += 1;
            }
        }
    }
    assert!((FILES / 2..FILES).contains(&refused), "{refused} files were refused");

    // Each kind of error by its name.
    let error = |file: &[u8]| {
        let error = load(architecture(), file).expect_err("broken");
        error.to_string()
    };
    assert_eq!(error(&file(&SHAPES[..5], Dtype::F32)), "has no tensor '4.bias'");
    let mut other = SHAPES;
    other[2] = ("3.weight", &[800, 48]);
    assert_eq!(
        error(&file(&other, Dtype::F32)),
        "tensor '3.weight' has shape [800, 48], and the network's has [48, 800]"
    );
    assert_eq!(
        error(&file(&SHAPES, Dtype::I32)),
        "tensor '0.weight' is not of type F32"
    );
    let more = [&SHAPES[..], &[("5.weight", &[1, 1])]].concat();
    assert_eq!(error(&file(&more, Dtype::F32)), "has 7 tensors, and the network has 6");
    let mut not_finite = sound.clone();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(error(&not_finite).ends_with("has a number that is not finite"));
    assert!(error(&sound[..end - 1]).starts_with("is no whole safetensors file: "));
    let mut long = sound;
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        error(&long),
        format!("is no whole safetensors file: a header of {} bytes", u64::MAX)
    );
}
