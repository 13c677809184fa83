//! Lets the worker find libtorch where it was built with it.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else {
        println!("cargo:warning=LIBTORCH is not set: run `make setup` once");
        return;
    };
    let libtorch = libtorch.to_string_lossy();
    // Installed beside its libraries, a binary finds them too.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib:$ORIGIN/../lib");
}
