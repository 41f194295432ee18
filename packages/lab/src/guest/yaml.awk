# Flattens JSON, or the part of YAML that cloud-init's files use, into lines PATH<TAB>VALUE: mappings, sequences, plain and quoted
# scalars, flow collections, literal and folded blocks. Sequence members are numbered from 0; a newline in a value is written \n, a
# backslash \\. No anchors, tags or multi-line plain scalars.
function put(path, value) {
  gsub(/\\/, "\\\\", value); gsub(/\n/, "\\n", value); gsub(/\t/, " ", value)
  print path "\t" value
}
function indent(s) { match(s, /^ */); return RLENGTH }
function blank(s) { return s ~ /^ *(#.*)?$/ || s ~ /^(---|\.\.\.)/ }
function key_length(s) {
  if (match(s, /^"[^"]*" *:( |$)/) || match(s, /^'[^']*' *:( |$)/)) return RLENGTH
  if (s ~ /^[[{|>"']/) return 0
  return match(s, /:( |$)/) ? RSTART + RLENGTH - 1 : 0
}
function key_name(s) {
  sub(/ *: ?$/, "", s)
  if (s ~ /^".*"$/ || s ~ /^'.*'$/) s = substr(s, 2, length(s) - 2)
  return s
}
function block(ind, path,    s, n, m, k, kind, count, p) {
  kind = ""; count = 0
  while (at <= NR) {
    s = line[at]
    if (blank(s)) { at++; continue }
    n = indent(s); if (n < ind) return
    ind = n; s = substr(s, n + 1)
    if (s ~ /^-( |$)/) {
      if (kind == "map") return
      kind = "list"; p = path "/" count++
      m = indent(substr(s, 2)) + 1; s = substr(s, m + 1)
      if (s == "" || s ~ /^#/) { at++; block(n + 1, p) }
      else if (key_length(s)) { line[at] = sprintf("%" (n + m) "s", "") s; block(n + m, p) }
      else { at++; value(s, n, p) }
    } else if (k = key_length(s)) {
      if (kind == "list") return
      kind = "map"; p = path "/" key_name(substr(s, 1, k))
      s = substr(s, k + 1); sub(/^ +/, "", s); at++
      if (s == "" || s ~ /^#/) {
        while (at <= NR && blank(line[at])) at++
        m = at <= NR ? indent(line[at]) : -1
        if (m > n || (m == n && line[at] ~ /^ *-( |$)/)) block(m, p); else put(p, "")
      } else value(s, n, p)
    } else at++
  }
}
function value(s, n, path,    text, m, fold, c) {
  if (s ~ /^[|>][-+0-9]*( +#.*)?$/) {
    fold = s ~ /^>/; m = -1; text = ""
    while (at <= NR) {
      if (line[at] ~ /^ *$/) { text = text "\n"; at++; continue }
      if (indent(line[at]) <= n) break
      if (m < 0) m = indent(line[at])
      text = text substr(line[at], m + 1) (fold ? " " : "\n"); at++
    }
    sub(/[ \n]+$/, "", text); if (s !~ /^.-/) text = text "\n"
    put(path, text); return
  }
  if (s ~ /^[[{]/) {
    T = s; P = 1; flow(path); return
  }
  if (s ~ /^["']/) { T = s; P = 1; put(path, quoted()); return }
  sub(/ +#.*$/, "", s); sub(/ +$/, "", s); put(path, s)
}
# Flow collections: T is the text, P the place in it; further lines are fetched when T ends.
function more() { if (at > NR) return 0; T = T " " line[at++]; return 1 }
function skip() { for (;;) { while (substr(T, P, 1) ~ /^[ ]$/) P++; if (P <= length(T) || !more()) return } }
function quoted(    q, c, text) {
  q = substr(T, P++, 1); text = ""
  for (;;) {
    if (P > length(T) && !more()) return text
    c = substr(T, P++, 1)
    if (c == q) { if (q == "'" && substr(T, P, 1) == "'") { text = text "'"; P++; continue } return text }
    if (c == "\\" && q == "\"") { c = substr(T, P++, 1); if (c == "n") c = "\n"; else if (c == "t") c = " " }
    text = text c
  }
}
function flow(path,    c, text, name, count, before) {
  skip(); c = substr(T, P, 1)
  if (c == "[") {
    P++; count = 0
    for (;;) {
      skip(); c = substr(T, P, 1)
      if (c == "]" || c == "") { P++; return }
      if (c == ",") { P++; continue }
      before = P; flow(path "/" count++)
      if (P == before) P++ # broken text: go on behind it
    }
  }
  if (c == "{") {
    P++
    for (;;) {
      skip(); c = substr(T, P, 1)
      if (c == "}" || c == "") { P++; return }
      if (c == ",") { P++; continue }
      if (c ~ /["']/) name = quoted(); else { name = ""; while ((c = substr(T, P, 1)) !~ /^[:,}]?$/) { name = name c; P++ } }
      sub(/ +$/, "", name); skip()
      if (substr(T, P, 1) == ":") { P++; flow(path "/" name) }
    }
  }
  if (c ~ /["']/) { put(path, quoted()); return }
  text = ""
  while ((c = substr(T, P, 1)) !~ /^[],}]?$/) { text = text c; P++ }
  sub(/ +$/, "", text); put(path, text)
}
{ sub(/\r$/, ""); line[NR] = $0 }
END {
  at = 1; while (at <= NR && blank(line[at])) at++
  if (line[at] ~ /^ *[[{]/) { T = line[at++]; P = 1; flow("") } else block(0, "")
}
