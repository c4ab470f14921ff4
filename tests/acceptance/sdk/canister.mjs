// Candid of the WebSocket CDK and of the demo canisters, for whichever library's IDL is passed in.

export const types = (IDL) => {
  const ClientKey = IDL.Record({ client_principal: IDL.Principal, client_nonce: IDL.Nat64 });
  return {
    ClientKey,
    AppMessage: IDL.Record({ text: IDL.Text }),
    OpenArguments: IDL.Record({ client_nonce: IDL.Nat64, gateway_principal: IDL.Principal }),
    WebsocketMessage: IDL.Record({
      client_key: ClientKey,
      sequence_num: IDL.Nat64,
      timestamp: IDL.Nat64,
      is_service_message: IDL.Bool,
      content: IDL.Vec(IDL.Nat8),
    }),
    Outcome: IDL.Variant({ Ok: IDL.Null, Err: IDL.Text }),
    Messages: IDL.Variant({
      Ok: IDL.Record({
        messages: IDL.Vec(IDL.Record({ client_key: ClientKey, key: IDL.Text, content: IDL.Vec(IDL.Nat8) })),
        cert: IDL.Vec(IDL.Nat8),
        tree: IDL.Vec(IDL.Nat8),
        is_end_of_queue: IDL.Opt(IDL.Bool),
      }),
      Err: IDL.Text,
    }),
  };
};

export const canisterInterface = ({ IDL }) => {
  const { ClientKey, AppMessage, OpenArguments, WebsocketMessage, Outcome, Messages } = types(IDL);
  return IDL.Service({
    ws_open: IDL.Func([OpenArguments], [Outcome], []),
    ws_close: IDL.Func([IDL.Record({ client_key: ClientKey })], [Outcome], []),
    ws_message: IDL.Func([IDL.Record({ msg: WebsocketMessage }), IDL.Opt(AppMessage)], [Outcome], []),
    ws_get_messages: IDL.Func([IDL.Record({ nonce: IDL.Nat64 })], [Messages], ["query"]),
  });
};
