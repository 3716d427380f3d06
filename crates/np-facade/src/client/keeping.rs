//! What a client does to stay connected: the settings of its builder, each checked for its range.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use np_types::LimitsError;

use crate::client::backoff::BackoffSettings;
use crate::client::breaker::CircuitBreaker;
use crate::client::resolver::Resolver;
use crate::{ClientBuilder, Error};

/// The most connections per address.
const MAX_POOL: usize = 64;

/// How calls are spread over the addresses of a client and the connections of its pool.
///
/// ```no_run
/// # async fn run() -> Result<(), np_facade::Error> {
/// use np_facade::{Balance, Client};
/// let client = Client::builder("tcp://10.0.0.1:9000?key=np1...")
///     .address("tcp://10.0.0.2:9000?key=np1...")
///     .balance(Balance::RoundRobin)
///     .pool_size(2) // four connections in all
///     .connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// All connections go to the first address that answers, in the order of the addresses; when it is lost, to the
    /// next. Calls take the connections by turns.
    #[default]
    FailOver,
    /// Each address has its connections, and calls take all of them by turns.
    RoundRobin,
    /// Each address has its connections, and a call takes one that has the fewest calls in flight.
    LeastInFlight,
}

/// The settings of a [`ClientBuilder`] about more than one connection.
pub(crate) struct Keeping {
    pub(crate) auto_reconnect: bool,
    pub(crate) backoff: BackoffSettings,
    pub(crate) retry_budget: u32,
    pub(crate) exactly_once: bool,
    /// Sorted.
    pub(crate) idempotent: Vec<String>,
    pub(crate) balance: Balance,
    pub(crate) pool_size: usize,
    pub(crate) breaker: Option<CircuitBreaker>,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    /// Those that resolve the names of a scheme.
    pub(crate) schemes: Vec<Arc<dyn Resolver>>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            auto_reconnect: true,
            backoff: BackoffSettings::default(),
            retry_budget: 10,
            exactly_once: false,
            idempotent: Vec::new(),
            balance: Balance::default(),
            pool_size: 1,
            breaker: Some(CircuitBreaker::default()),
            resolver: None,
            schemes: Vec::new(),
        }
    }
}

impl Keeping {
    /// Refuses what is out of its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: u128, rule| {
            let value = u64::try_from(value).unwrap_or(u64::MAX);
            Err(Error::Connect(LimitsError { setting, value, rule }.into()))
        };
        if self.backoff.least.is_zero() {
            return refuse("reconnect_delay", 0, "longer than 0");
        }
        if self.backoff.most < self.backoff.least {
            return refuse("max_reconnect_delay", self.backoff.most.as_millis(), "at least reconnect_delay (in ms)");
        }
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            return refuse("pool_size", self.pool_size as u128, "1 to 64");
        }
        if let Some(breaker) = self.breaker {
            if breaker.failures_in_a_row == 0 {
                return refuse("circuit_breaker.failures_in_a_row", 0, "at least 1");
            }
            if !(1..=20).contains(&breaker.failures_of_twenty) {
                let value = u128::from(breaker.failures_of_twenty);
                return refuse("circuit_breaker.failures_of_twenty", value, "1 to 20");
            }
            if breaker.open_for.is_zero() {
                return refuse("circuit_breaker.open_for", 0, "longer than 0");
            }
        }
        Ok(())
    }

    pub(crate) fn is_idempotent(&self, method: &str) -> bool {
        self.idempotent.binary_search_by(|name| name.as_str().cmp(method)).is_ok()
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping")
            .field("auto_reconnect", &self.auto_reconnect)
            .field("backoff", &self.backoff)
            .field("retry_budget", &self.retry_budget)
            .field("exactly_once", &self.exactly_once)
            .field("idempotent", &self.idempotent)
            .field("balance", &self.balance)
            .field("pool_size", &self.pool_size)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Adds an address of the same service, tried after those before it. All settings are for all of them, so they need
    /// the same security mode. How calls are spread: [`ClientBuilder::balance`].
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Sets who says where the servers are, asked anew at each attempt. The addresses of this builder follow those that it
    /// gives.
    ///
    /// One that has a [scheme](Resolver::scheme) stands beside others, and says where the servers are of the addresses with
    /// that scheme, in their place. It is this builder's alone.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        if resolver.scheme().is_some() {
            self.keeping.schemes.push(Arc::new(resolver));
        } else {
            self.keeping.resolver = Some(Arc::new(resolver));
        }
        self
    }

    /// Lets the first call of each connection leave with the client's last message of the handshake, once the server has proven
    /// its key: it arrives a round trip sooner. Of Noise alone, not of `tls://` and `?mode=local`. Default: no.
    ///
    /// [`ClientBuilder::connect`] then does not wait for the server's verdict on this client: it succeeds, and a refusal
    /// fails the first call, as not processed. Only a call of at most 512 bytes leaves so, without metadata and
    /// compression; anything else waits for the server's settings, as it does without this. No call is compressed that was made
    /// before these have come. A future of `connect` that is kept
    /// and not polled holds the end of the handshake back, until `handshake_timeout`. Who connects for one call has both by
    /// [`ClientBuilder::connect_and_call`], and hears of a refusal too.
    ///
    /// ```
    /// let builder = np_facade::Client::builder("tcp://10.0.0.1:9000?key=np1...").early_call(true);
    /// ```
    #[must_use]
    pub const fn early_call(mut self, on: bool) -> Self {
        self.early_call = on;
        self
    }

    /// Sets whether a connection that has stood is made again when it is lost, and when its server drains. Default: true.
    /// Where it is not, calls go to connections that stand, or wait for those of a pool that are made for the first time.
    /// [`ClientBuilder::connect`] itself fails at once, after each address was tried once.
    ///
    /// Calls that are made meanwhile wait for their deadline. A call that was not processed is sent again; one whose
    /// outcome is unknown fails, unless it is declared idempotent ([`ClientBuilder::idempotent_methods`]). Streams are
    /// not opened again. A server that has proven its key and refuses this client is not asked again; nor is one after
    /// 10 refusals in a row that anybody could have sent.
    #[must_use]
    pub const fn auto_reconnect(mut self, on: bool) -> Self {
        self.keeping.auto_reconnect = on;
        self
    }

    /// Sets the longest delay before the first attempt to connect again; it doubles with each further one. Each is drawn
    /// from the upper half of its step, so that the clients of one server do not come back at once. Default 0.1 s.
    #[must_use]
    pub const fn reconnect_delay(mut self, delay: Duration) -> Self {
        self.keeping.backoff.least = delay;
        self
    }

    /// Sets the longest delay between two attempts. Default 30 s.
    #[must_use]
    pub const fn max_reconnect_delay(mut self, delay: Duration) -> Self {
        self.keeping.backoff.most = delay;
        self
    }

    /// Sets after how many failed attempts in a row the client is over. Default: none, so that it tries for ever.
    #[must_use]
    pub fn max_reconnect_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.keeping.backoff.max_attempts = attempts.into();
        self
    }

    /// Sets how many calls may be sent again at once, of those whose outcome is unknown and those that a server refused
    /// though its connection stands. Each takes one; each success gives back a tenth. Default 10; 0 sends none again.
    /// Calls that were lost with their connection and not processed are sent again without it.
    #[must_use]
    pub const fn retry_budget(mut self, retries: u32) -> Self {
        self.keeping.retry_budget = retries;
        self
    }

    /// Makes every call of this client an exactly-once call, as [`Call::exactly_once`](crate::Call::exactly_once) does with
    /// one: it is sent again when its connection is lost, without the retry budget, and runs once all the same. The server
    /// has to offer that ([`ServerBuilder::exactly_once`](crate::ServerBuilder::exactly_once)). It costs a round trip for
    /// each connection and some 60 bytes for each call. At most 1,024 calls are begun after the first that is not over;
    /// others wait for it. Default: off.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = np_facade::Client::builder("tcp://10.0.0.1:9000?key=np1...").exactly_once().connect().await?;
    /// client.call("order", "apples").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn exactly_once(mut self) -> Self {
        self.keeping.exactly_once = true;
        self
    }

    /// Declares that these methods do no harm when they run twice, so that their calls are sent again when it is not
    /// known whether they ran. [`Call::idempotent`](crate::Call::idempotent) declares it of one call.
    ///
    /// ```
    /// let builder = np_facade::Client::builder("mem:orders").idempotent_methods(["orders.get", "orders.count"]);
    /// ```
    #[must_use]
    pub fn idempotent_methods<M: Into<String>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.keeping.idempotent.extend(methods.into_iter().map(Into::into));
        self.keeping.idempotent.sort_unstable();
        self
    }

    /// Sets how calls are spread over addresses and connections. Default: [`Balance::FailOver`].
    #[must_use]
    pub const fn balance(mut self, balance: Balance) -> Self {
        self.keeping.balance = balance;
        self
    }

    /// Sets how many connections each address gets, in all where the balance is [`Balance::FailOver`]: 1 to 64. Default 1.
    /// How many addresses there are is counted when the client connects.
    #[must_use]
    pub const fn pool_size(mut self, connections: usize) -> Self {
        self.keeping.pool_size = connections;
        self
    }

    /// Sets when an address is left alone for a while, or that none is. Failed attempts, lost connections and refused calls
    /// count. It chooses among several addresses; where no other is left it holds nothing back.
    ///
    /// ```
    /// use np_facade::{CircuitBreaker, Client};
    /// let twice = CircuitBreaker { failures_in_a_row: 2, ..CircuitBreaker::default() };
    /// let builder = Client::builder("mem:one").address("mem:other").circuit_breaker(twice);
    /// let without = Client::builder("mem:one").address("mem:other").circuit_breaker(None);
    /// ```
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: impl Into<Option<CircuitBreaker>>) -> Self {
        self.keeping.breaker = breaker.into();
        self
    }
}
