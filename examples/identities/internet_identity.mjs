import { AuthClient } from "@icp-sdk/auth/client";
import { CanisterSocket, IDL } from "icws-client";

const auth = new AuthClient();

// Call this when the person clicks a button: it opens a window.
export const logIn = async () => {
  if (!auth.isAuthenticated()) await auth.signIn();
};

export const connect = (places) =>
  new CanisterSocket({ ...places, identity: () => auth.getIdentity(), messageType: IDL.Record({ text: IDL.Text }) });
