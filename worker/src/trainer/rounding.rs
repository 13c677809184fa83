//! Makes matrix products round alike wherever their operands lie.
//!
//! MKL, which libtorch uses for them on x86-64, chooses its code by the alignment of each matrix unless it is told not to; a
//! member's place in the stack would then decide the last bits of its losses.

use std::sync::Once;

use libloading::os::unix::Library;

/// The entry behind MKL's `mkl_cbwr_set`, which is the name that libtorch exports.
const SETTER: &[u8] = b"mkl_serv_cbwr_set\0";
/// `MKL_CBWR_AUTO | MKL_CBWR_STRICT` of mkl.h: the best code that this CPU has, the same for every alignment.
const AUTO_STRICT: i32 = 2 | 0x1_0000;

/// Asks MKL for results that do not depend on alignment, once in a process. Without MKL, as on ARM, there is nothing to ask.
/// To be called before the first matrix product: MKL does not change its mind later.
pub(crate) fn fix_rounding() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(unsafe_code, reason = "tch binds no way to MKL")]
        // SAFETY: the signature is that of mkl_cbwr_set, `int (int)`, which sets a number inside MKL and nothing else.
        unsafe {
            if let Ok(set) = Library::this().get::<unsafe extern "C" fn(i32) -> i32>(SETTER) {
                // A refusal leaves MKL as it was: its rounding is then the documented 1e-5.
                let _ = set(AUTO_STRICT);
            }
        }
    });
}
