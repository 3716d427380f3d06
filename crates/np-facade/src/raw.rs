//! The rooms below, for programs that look into bytes: tools, tests, other drivers.
//!
//! ```
//! use np_facade::raw::wire::{Frame, decode_frame};
//! assert_eq!(decode_frame(&[0x30, 0]).map(|(frame, _)| frame), Ok(Frame::KeyUpdate));
//! ```

pub use np_driver as driver;
pub use np_noise as noise;
pub use np_session as session;
pub use np_transport as transport;
pub use np_wire as wire;
