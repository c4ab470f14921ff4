import Debug "mo:base/Debug";
import IcWebSocketCdk "mo:ic-websocket-cdk";
import IcWebSocketCdkState "mo:ic-websocket-cdk/State";
import IcWebSocketCdkTypes "mo:ic-websocket-cdk/Types";

persistent actor Greeter {
  /// What clients and this canister send each other.
  type AppMessage = { text : Text };

  transient let params = IcWebSocketCdkTypes.WsInitParams(null, null);
  transient let state = IcWebSocketCdkState.IcWebSocketState(params);

  func say(client : Principal, text : Text) : async () {
    let message : AppMessage = { text };
    ignore await IcWebSocketCdk.send(state, client, to_candid (message));
  };

  func on_open(args : IcWebSocketCdk.OnOpenCallbackArgs) : async () {
    await say(args.client_principal, "What is your name?");
  };

  func on_message(args : IcWebSocketCdk.OnMessageCallbackArgs) : async () {
    let message : ?AppMessage = from_candid (args.message);
    switch (message) {
      case (?{ text }) { await say(args.client_principal, "Hello, " # text # "!") };
      case null { Debug.trap("not an AppMessage") };
    };
  };

  func on_close(args : IcWebSocketCdk.OnCloseCallbackArgs) : async () {
    Debug.print(debug_show (args.client_principal) # " left");
  };

  transient let handlers = IcWebSocketCdkTypes.WsHandlers(?on_open, ?on_message, ?on_close);
  transient let ws = IcWebSocketCdk.IcWebSocket(state, params, handlers);
  ws.init<system>();

  public shared ({ caller }) func ws_open(args : IcWebSocketCdk.CanisterWsOpenArguments) : async IcWebSocketCdk.CanisterWsOpenResult {
    await ws.ws_open(caller, args);
  };

  public shared ({ caller }) func ws_close(args : IcWebSocketCdk.CanisterWsCloseArguments) : async IcWebSocketCdk.CanisterWsCloseResult {
    await ws.ws_close(caller, args);
  };

  public shared ({ caller }) func ws_message(args : IcWebSocketCdk.CanisterWsMessageArguments, kind : ?AppMessage) : async IcWebSocketCdk.CanisterWsMessageResult {
    await ws.ws_message(caller, args, kind);
  };

  public shared query ({ caller }) func ws_get_messages(args : IcWebSocketCdk.CanisterWsGetMessagesArguments) : async IcWebSocketCdk.CanisterWsGetMessagesResult {
    ws.ws_get_messages(caller, args);
  };
};
