//! Windows users as SIDs: who owns an open pipe, and who this process runs as.
//!
//! It must never decide who is welcome, nor ask by a process id: that may be another process's when it is looked up.

use std::io;
use std::os::windows::io::AsRawHandle;

use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::{Sid, utilities, wrappers};

/// The user that this process runs as, whichever of its rights it holds at the moment.
pub(crate) fn current_user() -> io::Result<String> {
    utilities::current_process_sid().and_then(|sid| text(&sid))
}

/// The owner of the pipe at whose client's end the handle is. Nobody can make it a user whose rights they have not.
pub(crate) fn owner(pipe: &impl AsRawHandle) -> io::Result<String> {
    let descriptor = wrappers::GetSecurityInfo(pipe, SeObjectType::SE_KERNEL_OBJECT, SecurityInformation::Owner)?;
    match wrappers::GetSecurityDescriptorOwner(&descriptor)? {
        Some(owner) => text(owner),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "the pipe has no owner")),
    }
}

fn text(sid: &Sid) -> io::Result<String> {
    let text = wrappers::ConvertSidToStringSid(sid)?;
    text.into_string().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the SID is no text"))
}
