//! The program np.
fn main() {}
