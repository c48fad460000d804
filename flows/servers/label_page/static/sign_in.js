// Sign in by a one-time link, whose secret part follows `#`, or by name and password.

import { $, ask, session } from "./common.js";

const PAGES = ["/", "/review", "/overview", "/account"];
const code = location.hash.slice(1);
const wanted = new URLSearchParams(location.search).get("next");
const next = PAGES.includes(wanted) ? wanted : "/";
// Neither the history nor a bookmark keeps the link.
history.replaceState(null, "", location.pathname + location.search);

function enter(found) {
  location.replace(code && !found.has_password ? "/account" : next);
}

async function signIn(path, body) {
  $("says").textContent = "Signing in …";
  try {
    enter(await ask(path, body));
  } catch (error) {
    const words = error.message;
    $("says").textContent = `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn("/api/sign-in/password", { name: $("name").value, password: $("password").value });
});

addEventListener("hashchange", () => location.reload());
if (code) signIn("/api/sign-in/link", { code });
// A link from another site opens this page without the cookie, which the page's own request has.
else ask("/api/session").then((found) => (found.person ? enter(found) : $("name").focus()), () => $("name").focus());
delete session.token;
