import { CanisterSocket, IDL, keptIdentity } from "icws-client";

export const connect = async (places) => {
  const identity = await keptIdentity();
  console.log(`you are ${identity.getPrincipal().toText()}`);
  return new CanisterSocket({ ...places, identity, messageType: IDL.Record({ text: IDL.Text }) });
};
