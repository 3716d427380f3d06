//! Bodies made smaller on their way out and whole again on their way in, in the task of whoever sends or takes them.
//!
//! Owns the contexts of the codecs, shared by the connections of an endpoint, and what each connection remembers and may
//! hold. It must never compress what nobody asked to be compressed: sizes tell an eavesdropper about contents.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use np_compress::{Adaptive, Algorithm, Budget, Caps, Compressor, DecompressError, Decompressor, Packed, Settings};
use np_dispatch::Reply;
use np_session::{Encoding, OpenCall};
use np_types::{Blame, CallError, Limits, LimitsError, MethodName, Status};

use crate::commands::lock;

/// Contexts that are kept for the next message; more than are at work at one time are of no use.
const KEPT: usize = 8;
/// What a connection remembers about methods: those that share a place share their luck.
const REMEMBERED: usize = 64;
/// Bodies above this, in bytes, are worked on away from the connection's task.
pub(crate) const LARGE: usize = 32 << 10;

/// How a side compresses the messages that it sends.
///
/// What comes in is decompressed whatever stands here, unless [`Limits::accept_compressed`] says no.
///
/// ```
/// use np_driver::Compression;
/// let asked = Compression::default();
/// assert!(!asked.by_default, "a message is compressed where its call or its method says so");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// The algorithm, its level, and when a body is worth it.
    pub settings: Settings,
    /// Whether messages are compressed for which neither call nor method says anything. Default: no, since the size of a
    /// compressed message tells an eavesdropper about what is in it, where a part of it is of the eavesdropper's choice.
    pub by_default: bool,
}

/// The contexts of one endpoint.
pub(crate) struct Contexts {
    compression: Compression,
    compressors: Mutex<Vec<Compressor>>,
    decompressors: Mutex<Vec<Decompressor>>,
}

impl Contexts {
    /// Checks the settings.
    pub(crate) fn new(compression: Compression) -> Result<Arc<Self>, LimitsError> {
        compression.settings.validate()?;
        Ok(Arc::new(Self { compression, compressors: Mutex::default(), decompressors: Mutex::default() }))
    }

    fn compress(&self, body: &[u8], method: &mut Adaptive) -> Packed {
        let kept = lock(&self.compressors).pop();
        // The settings were checked, so that this does not fail.
        let made = kept.map_or_else(|| Compressor::new(self.compression.settings), Ok);
        let Ok(mut compressor) = made else {
            return Packed::Plain(np_compress::PlainReason::NoGain);
        };
        let packed = compressor.compress(body, method);
        keep(&self.compressors, compressor);
        packed
    }

    fn decompress(&self, from: Algorithm, raw: u32, body: &[u8], caps: Caps) -> Result<Vec<u8>, DecompressError> {
        let mut decompressor = lock(&self.decompressors).pop().unwrap_or_default();
        let whole = decompressor.decompress(from, raw, body, caps);
        keep(&self.decompressors, decompressor);
        whole
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Contexts").field(&self.compression).finish()
    }
}

fn keep<T>(kept: &Mutex<Vec<T>>, context: T) {
    let mut kept = lock(kept);
    if kept.len() < KEPT {
        kept.push(context);
    }
}

/// What one connection needs for its bodies.
pub(crate) struct Bodies {
    contexts: Arc<Contexts>,
    /// Bit n: the peer reads encoding n; nothing while its settings have not come.
    peer_reads: AtomicU32,
    accepts: bool,
    caps: Caps,
    /// There with the first message that is tried.
    memory: OnceLock<Box<Mutex<[Adaptive; REMEMBERED]>>>,
    budget: u32,
    /// Bytes of decompressed bodies that handlers have not done with; there with the first of them.
    held: OnceLock<Arc<Mutex<Budget>>>,
}

/// A body that came compressed, and its place in the budget.
pub(crate) struct Whole {
    pub(crate) body: Bytes,
    /// Given back when this is dropped.
    pub(crate) held: Option<Held>,
}

pub(crate) struct Held {
    budget: Arc<Mutex<Budget>>,
    bytes: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.budget).release(self.bytes);
    }
}

/// A reply as it travels.
pub(crate) struct Sealed {
    pub(crate) reply: Reply,
    pub(crate) encoding: Encoding,
}

impl From<Reply> for Sealed {
    fn from(reply: Reply) -> Self {
        Self { reply, encoding: Encoding::Plain }
    }
}

impl Bodies {
    pub(crate) fn new(contexts: Arc<Contexts>, limits: &Limits, peer_reads: u32) -> Self {
        Self {
            contexts,
            peer_reads: AtomicU32::new(peer_reads),
            accepts: limits.accept_compressed,
            caps: Caps { max_message: limits.max_message, ..Caps::default() },
            memory: OnceLock::new(),
            budget: limits.call_budget,
            held: OnceLock::new(),
        }
    }

    /// Notes what the peer reads, where that is known only now.
    pub(crate) fn learn(&self, peer_reads: u32) {
        self.peer_reads.store(peer_reads, Ordering::Relaxed);
    }

    /// Bytes of decompressed bodies that handlers have not done with.
    pub(crate) fn held(&self) -> usize {
        self.held.get().map_or(0, |held| usize::try_from(lock(held).held()).unwrap_or(usize::MAX))
    }

    /// Whether a body of this size would be tried, for what its call or its method asks.
    pub(crate) fn tries(&self, asked: Option<bool>, size: usize) -> bool {
        let compression = self.contexts.compression;
        let number = encoding(compression.settings.encoder.algorithm(), 0).to_wire();
        let wanted = asked.unwrap_or(compression.by_default);
        let reads = || self.peer_reads.load(Ordering::Relaxed) >> number & 1 == 1;
        wanted && reads() && size >= compression.settings.threshold as usize
    }

    /// Makes the body of a call smaller, where that is asked for and worth it.
    pub(crate) fn pack_call(&self, call: &mut OpenCall, asked: Option<bool>) {
        if self.tries(asked, call.body.len()) {
            (call.encoding, call.body) = self.pack(&call.method, std::mem::take(&mut call.body));
        }
    }

    /// The same for a reply to a method.
    pub(crate) fn pack_reply(&self, method: &MethodName, asked: Option<bool>, mut reply: Reply) -> Sealed {
        if !self.tries(asked, reply.body.len()) {
            return reply.into();
        }
        let (encoding, body) = self.pack(method, std::mem::take(&mut reply.body));
        Sealed { reply: Reply { body, ..reply }, encoding }
    }

    pub(crate) fn pack(&self, method: &MethodName, body: Bytes) -> (Encoding, Bytes) {
        let at = place(method);
        let memory = self.memory.get_or_init(|| Box::new(Mutex::new([Adaptive::new(); REMEMBERED])));
        let mut remembered = lock(memory).get(at).copied().unwrap_or_default();
        let packed = self.contexts.compress(&body, &mut remembered);
        if let Some(place) = lock(memory).get_mut(at) {
            *place = remembered;
        }
        match packed {
            Packed::Compressed { raw, bytes } => {
                let algorithm = self.contexts.compression.settings.encoder.algorithm();
                (encoding(algorithm, raw), bytes.into())
            }
            Packed::Plain(_) => (Encoding::Plain, body),
        }
    }

    /// Makes a body whole that came; every limit is checked before a byte is allocated for it.
    pub(crate) fn unpack(&self, from: Encoding, body: Bytes) -> Result<Whole, CallError> {
        let (algorithm, raw) = match from {
            Encoding::Plain => return Ok(Whole { body, held: None }),
            Encoding::Lz4 { raw } if self.accepts => (Algorithm::Lz4, raw),
            Encoding::Zstd { raw } if self.accepts => (Algorithm::Zstd, raw),
            _ => return Err(CallError::answered(Status::UnsupportedCodec, "a compressed body, which was not agreed")),
        };
        self.caps.check(raw, body.len()).map_err(|error| unreadable(&error))?;
        let full = |error: np_compress::BudgetError| CallError::answered(Status::LimitReached, error.to_string());
        let budget = self.held.get_or_init(|| Arc::new(Mutex::new(Budget::new(u64::from(self.budget)))));
        lock(budget).reserve(raw).map_err(full)?;
        let held = Held { budget: Arc::clone(budget), bytes: raw };
        let whole = self.contexts.decompress(algorithm, raw, &body, self.caps).map_err(|error| unreadable(&error))?;
        Ok(Whole { body: whole.into(), held: Some(held) })
    }
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies").field("compression", &self.contexts.compression).finish_non_exhaustive()
    }
}

const fn encoding(algorithm: Algorithm, raw: u32) -> Encoding {
    match algorithm {
        Algorithm::Lz4 => Encoding::Lz4 { raw },
        Algorithm::Zstd => Encoding::Zstd { raw },
    }
}

fn unreadable(error: &DecompressError) -> CallError {
    let status = match error.blame() {
        Blame::Limit => Status::LimitReached,
        _ => Status::InvalidArgument,
    };
    CallError::answered(status, error.to_string())
}

/// Where a method's luck is remembered (FNV-1a; nothing depends on who shares a place).
fn place(method: &MethodName) -> usize {
    let mixed = method
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mixed as usize % REMEMBERED
}

#[cfg(test)]
mod tests;
