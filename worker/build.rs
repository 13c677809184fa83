//! Lets the worker find libtorch where it was built.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else {
        println!("cargo:warning=LIBTORCH is not set: run `make setup` once");
        return;
    };
    let libtorch = libtorch.to_string_lossy();
    // `$ORIGIN/../lib` lets an installed binary find the libraries beside it.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib:$ORIGIN/../lib");
}
