//! A chat room on the WebSocket CDK: each member gets what the others write.

use std::cell::RefCell;

use candid::{decode_one, encode_one, CandidType};
use ic_cdk::{init, post_upgrade, println, query, trap, update};
use ic_websocket_cdk::*;
use serde::Deserialize;

/// What clients and this canister send each other.
#[derive(CandidType, Deserialize)]
struct AppMessage {
    text: String,
}

/// The interface in the module's metadata, for `icws` and other tools.
#[cfg(target_arch = "wasm32")]
#[link_section = "icp:public candid:service"]
pub static INTERFACE: [u8; include_bytes!("../chat.did").len()] = *include_bytes!("../chat.did");

thread_local! {
    static ROOM: RefCell<Vec<ClientPrincipal>> = const { RefCell::new(Vec::new()) };
}

fn say(text: String) {
    let message = encode_one(AppMessage { text }).unwrap();
    for client in ROOM.with_borrow(Clone::clone) {
        if let Err(error) = send(client, message.clone()) {
            println!("{client} cannot be reached: {error}");
        }
    }
}

fn on_open(args: OnOpenCallbackArgs) {
    let client = args.client_principal;
    ROOM.with_borrow_mut(|room| {
        room.retain(|other| *other != client);
        room.push(client);
    });
    println!("{client} is here");
    say("somebody joined".to_string());
}

fn on_message(args: OnMessageCallbackArgs) {
    match decode_one::<AppMessage>(&args.message) {
        Ok(message) => say(message.text),
        Err(error) => trap(&format!("not an AppMessage: {error}")),
    }
}

fn on_close(args: OnCloseCallbackArgs) {
    ROOM.with_borrow_mut(|room| room.retain(|client| *client != args.client_principal));
    say("somebody left".to_string());
}

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

#[update]
fn ws_message(args: CanisterWsMessageArguments, kind: Option<AppMessage>) -> CanisterWsMessageResult {
    ic_websocket_cdk::ws_message(args, kind)
}

#[query]
fn ws_get_messages(args: CanisterWsGetMessagesArguments) -> CanisterWsGetMessagesResult {
    ic_websocket_cdk::ws_get_messages(args)
}
