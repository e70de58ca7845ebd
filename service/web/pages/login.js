// The link that `isophote serve` prints carries the token behind a "#": browsers keep that part to
// themselves, so it gets into no log. It is taken out of the address, and of the history, at once.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("token").value = token;
  document.forms[0].submit();
}
