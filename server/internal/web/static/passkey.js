// Passkeys: the browser's side of signing in, confirming and registering. The server makes every challenge and checks
// every answer; nothing is decided here.
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const known = (list) => list?.map((k) => ({ ...k, id: bytes(k.id) }));
  const question = (o) => ({ ...o, challenge: bytes(o.challenge), ...(o.user && { user: { ...o.user, id: bytes(o.user.id) } }),
    ...(o.allowCredentials && { allowCredentials: known(o.allowCredentials) }), ...(o.excludeCredentials && { excludeCredentials: known(o.excludeCredentials) }) });
  const answer = (c) => {
    const r = c.response;
    const out = { clientDataJSON: text(r.clientDataJSON) };
    if (r.attestationObject) Object.assign(out, { attestationObject: text(r.attestationObject), transports: r.getTransports?.() ?? [] });
    else Object.assign(out, { authenticatorData: text(r.authenticatorData), signature: text(r.signature), userHandle: r.userHandle ? text(r.userHandle) : undefined });
    return { id: c.id, rawId: text(c.rawId), type: c.type, response: out, clientExtensionResults: {}, authenticatorAttachment: c.authenticatorAttachment ?? undefined };
  };

  const ask = async (path, body) => {
    const res = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const said = await res.json().catch(() => ({}));
    if (said.code === "confirm_needed") location.assign(`/confirm?next=${encodeURIComponent(location.pathname)}`);
    if (!res.ok) throw new Error(said.message || `The server answered ${res.status}.`);
    return said;
  };

  const kinds = {
    "sign-in": { path: "/sign-in/passkey", get: true, more: () => ({ next: document.querySelector("form[data-sign-in]").elements.next.value }) },
    confirm: { path: "/confirm/passkey", get: true, more: () => ({}) },
    register: { path: "/account/passkeys", more: () => ({ name: document.querySelector("[data-passkey-name]").value.trim() }) },
  };

  const run = async (kind) => {
    const begun = await ask(`${kind.path}/begin`, kind.more());
    const publicKey = question(begun.options);
    const credential = await (kind.get ? navigator.credentials.get({ publicKey }) : navigator.credentials.create({ publicKey }));
    const done = await ask(`${kind.path}/finish`, { ceremony: begun.ceremony, credential: answer(credential), ...kind.more() });
    const form = document.querySelector("form[data-confirm]");
    if (form) form.submit(); // what was asked for goes on, with the proof in the session
    else location.assign(done.to);
  };

  document.querySelectorAll("[data-passkey]").forEach((button) => {
    const here = location.origin === button.dataset.origin && window.PublicKeyCredential;
    button.hidden = !here;
    const elsewhere = document.querySelector("[data-passkey-elsewhere]");
    if (elsewhere) elsewhere.hidden = here || location.origin === button.dataset.origin;
    button.addEventListener("click", async () => {
      const wrong = document.querySelector("[data-passkey-error]");
      wrong.hidden = button.disabled = true;
      try {
        await run(kinds[button.dataset.passkey]);
      } catch (e) {
        wrong.textContent = e.name === "NotAllowedError" ? "The passkey was not used: the browser or you stopped it." : e.name === "InvalidStateError" ? "This device has a passkey for you already." : e.message;
        wrong.hidden = false;
        button.disabled = false;
      }
    });
  });
})();
