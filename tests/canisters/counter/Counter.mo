import Prim "mo:⛔";

/// What the runtime has to get right for Motoko: its memory, timers, calls to itself, traps, certified data, upgrades.
persistent actor Counter {
  var kept : Nat = 0;
  transient var lost : Nat = 0;

  public func add() : async Nat {
    kept += 1;
    lost += 1;
    Prim.debugPrint("added");
    kept
  };

  public func addTwice() : async Nat {
    ignore await add();
    await add()
  };

  public func addAndTrap() : async () {
    kept += 100;
    Prim.trap("as asked")
  };

  public func addLater() : async () {
    ignore Prim.setTimer(1_000_000_000, false, func() : async () { kept += 1000 })
  };

  public shared func certify(data : Blob) : async () {
    Prim.setCertifiedData(data)
  };

  public query func both() : async (Nat, Nat) {
    (kept, lost)
  };

  public query func certificate() : async ?Blob {
    Prim.getCertificate()
  }
}
