//! Makes the results of matrix products and convolutions depend on their operands alone.
//!
//! MKL, which libtorch uses for matrix products on x86-64, chooses its code by the alignment of each matrix unless it is told not
//! to; a member's place in the stack would then decide the last bits of its losses. cuDNN, which libtorch uses for convolutions on
//! GPUs, adds up in whatever order its threads come, and to ten bits of mantissa (TF32) instead of 23, unless it is told not to;
//! the same job would end otherwise each time, and otherwise on another type of GPU or on a CPU.

use std::ffi::c_void;
use std::sync::Once;

use libloading::os::unix::Library;

/// The entry behind MKL's `mkl_cbwr_set`, which is the name that libtorch exports.
const MKL_SETTER: &[u8] = b"mkl_serv_cbwr_set\0";
/// `MKL_CBWR_AUTO | MKL_CBWR_STRICT` of mkl.h: the best code that this CPU has, the same for every alignment.
const AUTO_STRICT: i32 = 2 | 0x1_0000;

/// `at::globalContext()`, libtorch's settings.
const CONTEXT: &[u8] = b"_ZN2at13globalContextEv\0";
/// `at::Context::setDeterministicCuDNN(bool)`.
const SET_DETERMINISTIC: &[u8] = b"_ZN2at7Context21setDeterministicCuDNNEb\0";
/// `at::Context::setAllowTF32CuDNN(bool)`. For matrix products it is what libtorch does anyway.
const SET_TF32: &[u8] = b"_ZN2at7Context17setAllowTF32CuDNNEb\0";

/// Asks MKL and cuDNN for such results, once in a process. Where there is none of them, there is nothing to ask.
/// To be called before the first matrix product: MKL does not change its mind later.
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
    // SAFETY: the names spell the types out: a function without arguments that returns a reference, which is never null and lives
    // as long as the process, and a member of what it refers to, with a bool, that returns nothing. Members take `this` first.
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

    /// One of libtorch's settings, `bool at::Context::…() const`, or with an optional number, of which zeros are none.
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
