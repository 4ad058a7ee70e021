//! `sqlx::migrate!` reads the migrations while it compiles, and cargo does not see that.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
