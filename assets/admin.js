// Settings, users, audit, and one's own account.

import { h, replace, card, badge, when, words, button, tell, table, form } from "/assets/dom.js";
import { get, post, patch, remove } from "/assets/api.js";

const ROLES = ["viewer", "analyst", "admin"];

export async function settings(main, context) {
  const keys = await get("/api/v1/settings");
  const rows = Array.isArray(keys) ? keys : keys.settings ?? [];
  const again = () => settings(main, context);
  const set = form([["key", "Key", { options: rows.map((row) => row.key) }], ["value", "Value", { required: true }], ["hours", "For hours (empty: until the daemon stops)", { type: "number", min: 1 }]],
    "Set", async (given) => {
      const value = Number.isNaN(Number(given.value)) ? given.value : Number(given.value);
      await post("/api/v1/settings", { key: given.key, value, ...(given.hours ? { for_secs: Math.round(given.hours * 3600) } : {}) });
      tell(`${given.key} is ${given.value} now.`);
      await again();
    });
  replace(main, h("h1", {}, "Settings"),
    h("p.hint", {}, "What can be set while the daemon runs. All else stands in the configuration file; `palisade config show` says what is in effect and where it comes from."),
    context.may("admin") ? card("Set for a while", set) : null,
    table("Settings", ["Key", "Value", "Where from", "Do"], rows.map((row) => [h("code", {}, row.key), h("code", {}, String(row.value)),
      row.by ? `${row.by}${row.until ? "" : ", until the daemon stops"}` : words(row.origin ?? ""),
      row.by && context.may("admin") ? button("Back", async () => { await remove(`/api/v1/settings/${row.key}`); await again(); }) : ""]), "Nothing can be set."));
}

export async function users(main, context) {
  const rows = await get("/api/v1/users");
  const again = () => users(main, context);
  const link = h("p.secret", { hidden: true });
  const show = (answer) => {
    replace(link, h("strong", {}, `${answer.name} chooses a password here: `), h("code", {}, answer.link));
    link.hidden = false;
  };
  const add = form([["name", "Name", { required: true }], ["role", "Role", { options: ROLES }]], "Invite", async (given) => {
    const answer = await post("/api/v1/users", given);
    await again();
    document.querySelector(".secret").replaceWith(link);
    show(answer);
  });
  replace(main, h("h1", {}, "Users"), card("Invite somebody", add), link,
    table("Users", ["Name", "Role", "State", "Signed in", "Do"], rows.map((user) => {
      const role = h("select", { "aria-label": `Role of ${user.name}`, onchange: async (event) => {
        try { await patch(`/api/v1/users/${user.name}`, { role: event.target.value }); } catch (error) { tell(error.message, "error"); }
        await again();
      } }, ROLES.map((name) => h("option", { value: name, selected: name === user.role }, name)));
      return [user.name, role, user.is_active ? (user.has_password ? badge("ok", "active") : badge("medium", "invited")) : badge("low", "off"), when(user.last_login),
        [button(user.is_active ? "Sign out and shut out" : "Let in again", async () => { await patch(`/api/v1/users/${user.name}`, { is_active: !user.is_active }); await again(); }, user.is_active ? { sure: "Really?" } : {}),
          button("New link", async () => show(await post(`/api/v1/users/${user.name}/invite`))),
          button("Remove", async () => { await remove(`/api/v1/users/${user.name}`); await again(); }, { sure: "Really?" })]];
    }), "Nobody."));
}

export async function audit(main) {
  const rows = await get("/api/v1/audit");
  replace(main, h("h1", {}, "Audit"), table("Who did what", ["When", "Who", "From", "What", "With"], rows.map((row) => [
    when(row.time), row.user, row.address, row.action, h("code.cut", { title: row.detail }, row.detail)]), "Nobody did anything yet."));
}

export async function account(main, context) {
  const tokens = await get("/api/v1/auth/tokens");
  const again = () => account(main, context);
  const secret = h("p.secret", { hidden: true });
  const add = form([["note", "What for", { required: true }], ["role", "May", { options: ROLES.filter(context.may) }], ["days", "Days", { type: "number", min: 1, value: "90" }]], "Make a token", async (given) => {
    const { token } = await post("/api/v1/auth/tokens", { ...given, days: Number(given.days) });
    await again();
    const place = document.querySelector(".secret");
    replace(place, h("strong", {}, "This token is shown only now: "), h("code", {}, token));
    place.hidden = false;
  });
  const hidden = { type: "password", required: true };
  const change = form([["old_password", "Old password", { ...hidden, autocomplete: "current-password" }], ["password", "New password", { ...hidden, minlength: 10, autocomplete: "new-password" }]], "Change", async (given, element) => {
    await post("/api/v1/auth/password", given);
    element.reset();
    tell("Your password is changed; other browsers are signed out.");
  });
  replace(main, h("h1", {}, context.me.name),
    h("p", {}, `You are ${context.me.role}. `, button("Sign out", async () => { await post("/api/v1/auth/logout"); location.assign("/"); })),
    card("Password", change), card("Tokens of programs", add, secret,
      table("Tokens", ["What for", "Whose", "May", "Used", "Ends", "Do"], tokens.map((token) => [token.note, token.user, token.role, when(token.last_used), when(token.expires_at),
        button("Take away", async () => { await remove(`/api/v1/auth/tokens/${token.id}`); await again(); }, { sure: "Really?" })]), "No program has a token.")));
}
