// Choose a password, or sign out.

import { $, ask, session } from "./common.js";

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("password").value !== $("again").value) {
    $("says").textContent = "The two passwords differ.";
    return;
  }
  try {
    const found = await ask("/api/password", { password: $("password").value });
    session.token = found.token;
    location.replace("/");
  } catch (error) {
    $("says").textContent = `${error.message}.`;
  }
});

$("sign-out").addEventListener("click", async () => {
  await ask("/api/sign-out", {}).catch(() => {});
  location.replace("/sign-in");
});
