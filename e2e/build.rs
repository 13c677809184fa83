//! Lets the simulation, which is linked with the worker's library, find libtorch where the worker was built with it.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!(
            "cargo:rustc-link-arg-tests=-Wl,-rpath,{}/lib",
            libtorch.to_string_lossy()
        );
    }
}
