//! The method table. Owns which name means which handler, changed while running; must never call a handler.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use np_types::{CallError, Metadata, MethodName, MethodNameError, PeerIdentity};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    CallContext, Handler, Health, MessageStream, Reply, Schema, StreamHandler, builtin, bytes, bytes_async, schema,
    stream, typed, typed_async,
};

/// Why a method was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The text is no method name.
    #[error("`{}` is no method name: {error}", np_types::escape(name, 128))]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        error: MethodNameError,
    },
    /// The name has a handler; remove it first.
    #[error("the method `{0}` has a handler already; remove it first, or choose another name")]
    Taken(MethodName),
    /// The name is one of np's own.
    #[error("the method name `{0}` is reserved: names that begin with `np.` are np's own")]
    Reserved(MethodName),
    /// The name is not one of np's own.
    #[error("the method name `{0}` is none of np's own, which begin with `np.`; register it as the program's")]
    NotOwn(MethodName),
}

/// How the driver is to run a method's handler, and what the method tells about itself.
///
/// ```
/// use np_dispatch::MethodOptions;
/// assert!(MethodOptions::default().spawned().is_spawned());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MethodOptions {
    spawned: bool,
    compress: Option<bool>,
    schema: Option<Schema>,
}

impl MethodOptions {
    /// Gives each call of the method a task of its own, for handlers that work long between two awaits.
    #[must_use]
    pub const fn spawned(mut self) -> Self {
        self.spawned = true;
        self
    }

    /// Compresses the method's replies, where the caller reads that and it is worth it. Keep secrets and text that
    /// strangers chose out of one reply: its size tells about both.
    ///
    /// ```
    /// use np_dispatch::MethodOptions;
    /// assert_eq!(MethodOptions::default().compresses(), None, "the connection's default stands");
    /// assert_eq!(MethodOptions::default().compressed().compresses(), Some(true));
    /// assert_eq!(MethodOptions::default().plain().compresses(), Some(false));
    /// ```
    #[must_use]
    pub const fn compressed(mut self) -> Self {
        self.compress = Some(true);
        self
    }

    /// Never compresses the method's replies, whatever the default is.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.compress = Some(false);
        self
    }

    /// Whether replies are compressed; `None` leaves it to the default.
    #[must_use]
    pub const fn compresses(self) -> Option<bool> {
        self.compress
    }

    /// Whether each call gets a task of its own.
    #[must_use]
    pub const fn is_spawned(self) -> bool {
        self.spawned
    }

    /// Names what the method reads and answers, by a text that changes with its types: see [`Schema`].
    ///
    /// ```
    /// use np_dispatch::{MethodOptions, Schema};
    /// let options = MethodOptions::default().schema("orders/3");
    /// assert_eq!(options.fingerprint(), Some(Schema::of("orders/3")));
    /// ```
    #[must_use]
    pub fn schema(mut self, text: &str) -> Self {
        self.schema = Some(Schema::of(text));
        self
    }

    /// The fingerprint of what the method reads and answers, where it tells one.
    #[must_use]
    pub const fn fingerprint(self) -> Option<Schema> {
        self.schema
    }
}

/// What a name stands for.
#[derive(Clone)]
pub enum Target {
    /// Unary calls and one-way messages.
    Unary(Arc<dyn Handler>),
    /// Streams.
    Stream(Arc<dyn StreamHandler>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unary(_) => "Unary(..)",
            Self::Stream(_) => "Stream(..)",
        })
    }
}

/// One row of the method table.
#[derive(Debug)]
pub struct Registered {
    /// The name; cloning it is cheap.
    pub name: MethodName,
    /// The handler.
    pub target: Target,
    /// How to run it.
    pub options: MethodOptions,
}

impl Registered {
    /// Refuses a call that expects another [`Schema`] than the method has; asked before the handler runs.
    ///
    /// # Errors
    /// [`Status::SchemaMismatch`](np_types::Status::SchemaMismatch), with both fingerprints in the text.
    ///
    /// ```
    /// use np_dispatch::{Router, Schema};
    /// let router = Router::new();
    /// router.on("greet", |_ctx, _body| Ok("hello"))?;
    /// let method = router.lookup("greet").ok_or("greet is gone")?;
    /// let mut metadata = np_types::Metadata::new();
    /// assert!(method.admit(&metadata).is_ok());
    /// Schema::of("greetings/2").expect_in(&mut metadata)?;
    /// assert!(method.admit(&metadata).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn admit(&self, metadata: &Metadata) -> Result<(), CallError> {
        schema::check(self.options.schema, metadata)
    }

    /// A line of `np.methods`: the name, and behind a space the fingerprint where there is one.
    fn line(&self) -> String {
        match self.options.schema {
            Some(schema) => format!("{} {schema}", self.name),
            None => self.name.to_string(),
        }
    }
}

/// The method table; clones share it.
///
/// Handlers may come and go while calls run: a call that found its handler keeps it. A look-up takes no lock. Each
/// change copies the table, so changes cost time in proportion to its size.
///
/// ```
/// use np_dispatch::{RegisterError, Router};
/// let router = Router::new();
/// router.on("greet", |_ctx, _body| Ok("hello"))?;
/// assert!(matches!(router.on("greet", |_ctx, _body| Ok("hi")), Err(RegisterError::Taken(_))));
/// assert!(router.remove("greet").is_some());
/// router.on("greet", |_ctx, _body| Ok("hi"))?;
/// # Ok::<(), RegisterError>(())
/// ```
#[derive(Clone, Default)]
pub struct Router {
    shared: Arc<Shared>,
}

/// Ordered, so that listings need no sorting and nothing depends on a hash's seed.
type Table = BTreeMap<MethodName, Arc<Registered>>;

#[derive(Default)]
struct Shared {
    table: ArcSwap<Table>,
    generation: AtomicU64,
    writer: Mutex<()>,
}

impl Router {
    /// An empty table. Names that begin with `np.` are reserved in it all the same.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table that holds `np.echo`, `np.echo-stream`, `np.health`, `np.methods` and `np.once`.
    #[must_use]
    pub fn with_builtins(health: Health) -> Self {
        let router = Self::new();
        // The table is new and the names are constants, so none of these can fail; a test lists them.
        let _ = router.insert("np.echo", unary(builtin::echo()), MethodOptions::default());
        let echo = Target::Stream(Arc::new(builtin::echo_stream()));
        let _ = router.insert("np.echo-stream", echo, MethodOptions::default());
        let _ = router.insert("np.health", unary(builtin::health(health)), MethodOptions::default());
        let weak = WeakRouter(Arc::downgrade(&router.shared));
        let _ = router.insert("np.methods", unary(builtin::methods(weak)), MethodOptions::default());
        let _ = router.insert("np.once", unary(builtin::once()), MethodOptions::default());
        router
    }

    /// Adds `np.status`, which tells `pairs` of a name and a value to the peers that `allows` says yes to, and
    /// [`Status::PermissionDenied`](np_types::Status::PermissionDenied) to others.
    ///
    /// # Errors
    /// When it is there already.
    ///
    /// ```
    /// use np_dispatch::Router;
    /// let router = Router::new();
    /// router.offer_status(|peer| peer.is_authenticated(), || vec![("connections".to_owned(), "7".to_owned())])?;
    /// assert_eq!(router.methods(), ["np.status"]);
    /// # Ok::<(), np_dispatch::RegisterError>(())
    /// ```
    pub fn offer_status(
        &self,
        allows: impl Fn(&PeerIdentity) -> bool + Send + Sync + 'static,
        pairs: impl Fn() -> Vec<(String, String)> + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        self.insert("np.status", unary(builtin::status(allows, pairs)), MethodOptions::default())
    }

    /// Adds a handler of unary calls and one-way messages.
    ///
    /// # Errors
    /// When the name is malformed, reserved or taken.
    pub fn register(&self, name: &str, handler: impl Handler) -> Result<(), RegisterError> {
        self.register_target(name, unary(handler), MethodOptions::default())
    }

    /// Adds a handler of streams.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn register_stream(&self, name: &str, handler: impl StreamHandler) -> Result<(), RegisterError> {
        let target = Target::Stream(Arc::new(handler));
        self.register_target(name, target, MethodOptions::default())
    }

    /// Adds a handler of either kind, with options.
    ///
    /// # Errors
    /// As [`Self::register`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use np_dispatch::{MethodOptions, Router, Target, bytes};
    /// let router = Router::new();
    /// let handler = Target::Unary(Arc::new(bytes(|_ctx, body| Ok(body))));
    /// router.register_target("slow", handler, MethodOptions::default().spawned())?;
    /// # Ok::<(), np_dispatch::RegisterError>(())
    /// ```
    pub fn register_target(&self, name: &str, target: Target, options: MethodOptions) -> Result<(), RegisterError> {
        match MethodName::new(name) {
            Ok(name) if name.is_builtin() => Err(RegisterError::Reserved(name)),
            _ => self.insert(name, target, options),
        }
    }

    /// Adds a method of np's own, whose name begins with `np.`: for the crates of np above this one.
    ///
    /// # Errors
    /// When the name is malformed, taken, or does not begin with `np.`: such a name is the program's, by
    /// [`Self::register_target`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use np_dispatch::{MethodOptions, Router, Target, bytes};
    /// let (router, options) = (Router::new(), MethodOptions::default());
    /// let handler = || Target::Unary(Arc::new(bytes(|_ctx, body| Ok(body))));
    /// router.register_own("np.cluster.get", handler(), options)?;
    /// assert!(router.register_own("orders.get", handler(), options).is_err());
    /// # Ok::<(), np_dispatch::RegisterError>(())
    /// ```
    pub fn register_own(&self, name: &str, target: Target, options: MethodOptions) -> Result<(), RegisterError> {
        match MethodName::new(name) {
            Ok(name) if !name.is_builtin() => Err(RegisterError::NotOwn(name)),
            _ => self.insert(name, target, options),
        }
    }

    /// Takes a name out of the table; running calls go on. Also for `np.` names, which cannot be added again.
    pub fn remove(&self, name: &str) -> Option<Arc<Registered>> {
        self.change(|table| table.remove(name))
    }

    /// What a name stands for now.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<Arc<Registered>> {
        self.shared.table.load().get(name).cloned()
    }

    /// As [`Self::lookup`], for a name that was checked before, which is quicker to compare.
    ///
    /// ```
    /// use np_dispatch::Router;
    /// let router = Router::new();
    /// router.on("greet", |_ctx, _body| Ok("hello"))?;
    /// assert!(router.find(&"greet".parse()?).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find(&self, name: &MethodName) -> Option<Arc<Registered>> {
        self.shared.table.load().get(name).cloned()
    }

    /// A number that moves with every change.
    ///
    /// To keep a look-up, read the number first, then look up; the result holds as long as the number stands.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// All names, in order.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        self.shared.methods()
    }

    fn insert(&self, name: &str, target: Target, options: MethodOptions) -> Result<(), RegisterError> {
        let name = MethodName::new(name).map_err(|error| RegisterError::Name { name: name.to_owned(), error })?;
        let registered = Arc::new(Registered { name: name.clone(), target, options });
        let taken = name.clone();
        self.change(|table| {
            if table.contains_key(&name) {
                return None;
            }
            table.insert(name, registered);
            Some(())
        })
        .ok_or(RegisterError::Taken(taken))
    }

    /// Applies a change to a copy of the table and publishes the copy, unless `edit` says that nothing changed.
    fn change<T>(&self, edit: impl FnOnce(&mut Table) -> Option<T>) -> Option<T> {
        // The lock guards no data: a panic under it leaves the published table whole.
        let _writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.shared.table.load());
        let outcome = edit(&mut table)?;
        self.shared.table.store(Arc::new(table));
        // After the table: a reader that sees the new number also sees the new table.
        self.shared.generation.fetch_add(1, Ordering::Release);
        Some(outcome)
    }
}

/// Registration of closures, one method per form.
impl Router {
    /// Adds [`bytes`](crate::bytes()) of a closure.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn on<F, R>(&self, name: &str, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(CallContext, Bytes) -> Result<R, CallError> + Send + Sync + 'static,
        R: Into<Reply> + 'static,
    {
        self.register(name, bytes(handler))
    }

    /// Adds [`bytes_async`] of a closure.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn on_async<F, Fut, R>(&self, name: &str, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(CallContext, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, CallError>> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        self.register(name, bytes_async(handler))
    }

    /// Adds [`typed`] of a closure.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn on_typed<F, Req, Resp>(&self, name: &str, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(CallContext, Req) -> Result<Resp, CallError> + Send + Sync + 'static,
        Req: DeserializeOwned + 'static,
        Resp: Serialize + 'static,
    {
        self.register(name, typed(handler))
    }

    /// Adds [`typed_async`] of a closure.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn on_typed_async<F, Fut, Req, Resp>(&self, name: &str, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, CallError>> + Send + 'static,
        Req: DeserializeOwned + 'static,
        Resp: Serialize + 'static,
    {
        self.register(name, typed_async(handler))
    }

    /// Adds [`stream`](crate::stream()) of a closure.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn on_stream<F, Fut>(&self, name: &str, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(CallContext, MessageStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), CallError>> + Send + 'static,
    {
        self.register_stream(name, stream(handler))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("methods", &self.methods()).field("generation", &self.generation()).finish()
    }
}

impl Shared {
    fn methods(&self) -> Vec<String> {
        self.table.load().keys().map(ToString::to_string).collect()
    }
}

/// A router that a handler inside its own table may hold without keeping the table alive for ever.
pub(crate) struct WeakRouter(Weak<Shared>);

impl WeakRouter {
    /// A line for each method, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let shared = self.0.upgrade();
        shared.map(|shared| shared.table.load().values().map(|row| row.line()).collect()).unwrap_or_default()
    }
}

fn unary(handler: impl Handler) -> Target {
    Target::Unary(Arc::new(handler))
}

#[cfg(test)]
mod tests;
