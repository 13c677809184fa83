//! Makes results of matrix products and convolutions depend only on their operands.
//!
//! MKL, which libtorch uses for matrix products on x86-64, by default chooses its code by the alignment of each matrix:
//! a member's place in the stack would then decide the last bits of its losses. cuDNN, which libtorch uses for
//! convolutions on GPUs, by default adds in whatever order its threads arrive, and with ten bits of mantissa (TF32)
//! instead of 23: the same job would end differently each time, and differently on another type of GPU or on a CPU.

use std::ffi::c_void;
use std::sync::Once;

use libloading::os::unix::Library;

/// libtorch's exported name of MKL's `mkl_cbwr_set`.
const MKL_SETTER: &[u8] = b"mkl_serv_cbwr_set\0";
/// `MKL_CBWR_AUTO | MKL_CBWR_STRICT` of mkl.h: the best code that this CPU has, the same for every alignment.
const AUTO_STRICT: i32 = 2 | 0x1_0000;

/// `at::globalContext()`, libtorch's settings.
const CONTEXT: &[u8] = b"_ZN2at13globalContextEv\0";
/// `at::Context::setDeterministicCuDNN(bool)`.
const SET_DETERMINISTIC: &[u8] = b"_ZN2at7Context21setDeterministicCuDNNEb\0";
/// `at::Context::setAllowTF32CuDNN(bool)`. For matrix products libtorch disallows TF32 by default.
const SET_TF32: &[u8] = b"_ZN2at7Context17setAllowTF32CuDNNEb\0";

/// Makes MKL and cuDNN compute such results, once in a process, where they are present. To be called before the first
/// matrix product: MKL ignores later calls.
pub(super) fn fix_rounding() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        fix_mkl();
        set_of_context(SET_DETERMINISTIC, true);
        set_of_context(SET_TF32, false);
    });
}

fn fix_mkl() {
    #[expect(unsafe_code, reason = "tch binds no way to MKL")]
    // SAFETY: the signature is that of mkl_cbwr_set, `int (int)`, which sets a number inside MKL and nothing else.
    unsafe {
        if let Ok(set) = Library::this().get::<unsafe extern "C" fn(i32) -> i32>(MKL_SETTER) {
            // A refusal leaves MKL as it was: its rounding is then the documented 1e-5.
            let _ = set(AUTO_STRICT);
        }
    }
}

/// Changes one of libtorch's settings.
fn set_of_context(setter: &[u8], value: bool) {
    #[expect(unsafe_code, reason = "tch binds no way to these settings")]
    // SAFETY: the mangled names give the types. The first is a function without arguments that returns a reference, which is never null and lives as long as
    // the process. The second is a member function of the referenced object, which takes a bool and returns nothing. Members take `this` first.
    unsafe {
        let libtorch = Library::this();
        if let Ok(context) = libtorch.get::<unsafe extern "C" fn() -> *mut c_void>(CONTEXT)
            && let Ok(set) = libtorch.get::<unsafe extern "C" fn(*mut c_void, bool)>(setter)
        {
            set(context(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of libtorch's settings, by `bool at::Context::…() const`, which may take an optional number: zeros mean none.
    fn of_context(getter: &[u8]) -> bool {
        #[expect(unsafe_code, reason = "tch binds no way to these settings")]
        // SAFETY: as in `set_of_context`.
        unsafe {
            let libtorch = Library::this();
            let context = libtorch.get::<unsafe extern "C" fn() -> *mut c_void>(CONTEXT);
            let get = libtorch.get::<unsafe extern "C" fn(*const c_void, u64) -> bool>(getter);
            get.expect("a getter")(context.expect("the context")(), 0)
        }
    }

    #[test]
    fn libtorch_takes_the_settings() {
        fix_rounding();
        assert!(of_context(b"_ZNK2at7Context18deterministicCuDNNEv\0"));
        assert!(!of_context(
            b"_ZNK2at7Context14allowTF32CuDNNESt8optionalINS_9Float32OpEE\0"
        ));
        assert!(!of_context(b"_ZNK2at7Context15allowTF32CuBLASEv\0"));
    }
}
