//! Sends each message back, whatever its type, on the WebSocket CDK as crates.io has it.
//!
//! A message `trap` traps in the handler, so that tests see what a trap rolls back.

use ic_cdk::{init, post_upgrade, query, trap, update};
use ic_websocket_cdk::*;

fn on_open(_: OnOpenCallbackArgs) {}

fn on_message(args: OnMessageCallbackArgs) {
    if args.message == b"trap" {
        trap("as the message asks");
    }
    if let Err(error) = send(args.client_principal, args.message) {
        trap(&error);
    }
}

fn on_close(_: OnCloseCallbackArgs) {}

#[init]
fn start() {
    ic_websocket_cdk::init(WsInitParams::new(WsHandlers {
        on_open: Some(on_open),
        on_message: Some(on_message),
        on_close: Some(on_close),
    }));
}

#[post_upgrade]
fn start_again() {
    start();
}

#[update]
fn ws_open(args: CanisterWsOpenArguments) -> CanisterWsOpenResult {
    ic_websocket_cdk::ws_open(args)
}

#[update]
fn ws_close(args: CanisterWsCloseArguments) -> CanisterWsCloseResult {
    ic_websocket_cdk::ws_close(args)
}

// A second argument tells the SDK the application's type. This canister takes any, so it reads only the first.
#[update]
fn ws_message(args: CanisterWsMessageArguments) -> CanisterWsMessageResult {
    ic_websocket_cdk::ws_message(args, None::<candid::Reserved>)
}

#[query]
fn ws_get_messages(args: CanisterWsGetMessagesArguments) -> CanisterWsGetMessagesResult {
    ic_websocket_cdk::ws_get_messages(args)
}
