//! `np health`: whether a server serves, told by the exit code.

use clap::Args;
use np_facade::{ErrorKind, escape};
use serde_json::json;

use crate::args::ConnectArgs;
use crate::connect::{Target, connect};
use crate::failure::Failure;
use crate::output::Output;
use crate::refusal::failed_call;

/// What a server answers that serves.
const SERVING: &str = "ok";
/// Bytes of an answer that are shown.
const MAX_STATE: usize = 256;

/// Asks np.health once and prints the answer.
///
/// The exit code is for monitors: 0 where the server answers `ok`; 1 where it answers anything else (`draining`) or an error;
/// 3 where it cannot be reached, 4 where one side refuses the other, 5 where no answer comes within --timeout, 6 where it
/// is at a limit. A monitor needs a key that the server allows, or an address that asks for none.
#[derive(Debug, Args)]
pub(crate) struct HealthCommand {
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks, and fails where the server does not serve.
pub(crate) async fn run(command: HealthCommand, output: Output) -> Result<(), Failure> {
    let target = Target::new(&command.connect)?;
    let connected = connect(&command.connect, target).await?;
    let call = connected.client.request("np.health").deadline(connected.remaining());
    let reply = call.send().await.map_err(|error| failed_call("np.health", &connected.place, &error));
    let reply = connected.close_after(reply).await?;
    let state = escape(&String::from_utf8_lossy(&reply.body), MAX_STATE);
    let serving = state == SERVING;
    output.line(&state, &json!({ "address": connected.place, "serving": serving, "state": state }))?;
    if serving {
        return Ok(());
    }
    let line = format!("health of {}: not serving, it answers `{state}`; send clients elsewhere", connected.place);
    Err(Failure::new(ErrorKind::Remote, line))
}
