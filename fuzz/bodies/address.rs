//! Any text as an address: parsing gives an address whose text means the same address, or an error that points into the
//! text. Owns this rule alone; it must never open a socket.

use np_transport::Address;

/// Gives whether the bytes are an address.
pub(crate) fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match text.parse::<Address>() {
        Ok(address) => {
            let shown = address.to_string();
            let again = shown.parse::<Address>().expect("an address that was printed parses");
            assert_eq!(again, address);
            assert_eq!(again.to_string(), shown);
            true
        }
        Err(error) => {
            assert!(error.at() <= text.len(), "the place {} lies outside {} bytes", error.at(), text.len());
            assert!(!error.message().is_empty());
            assert!(
                error.explain().chars().all(|c| c == '\n' || !c.is_control()),
                "a control character reaches the terminal"
            );
            false
        }
    }
}
