//! Any text as an address: parsing gives an address whose text means the same address, or an error that points into the
//! text. Owns this rule alone; it must never open a socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use np_transport::Address;

fuzz_target!(|text: &str| {
    match text.parse::<Address>() {
        Ok(address) => {
            let shown = address.to_string();
            let again = shown.parse::<Address>().expect("an address that was printed parses");
            assert_eq!(again, address);
            assert_eq!(again.to_string(), shown);
        }
        Err(error) => {
            assert!(error.at() <= text.len(), "the place {} lies outside {} bytes", error.at(), text.len());
            assert!(!error.message().is_empty());
            assert!(
                error.explain().chars().all(|c| c == '\n' || !c.is_control()),
                "a control character reaches the terminal"
            );
        }
    }
});
