/** Bad input on the command line and in files for `sheaf apply`: words, exit code, and what must be told. */
export interface CommandCase {
  readonly what: string;
  /** `FILE` stands for the path of `file`. */
  readonly words: readonly string[];
  readonly file?: string | Buffer;
  readonly exit: number;
  readonly says: RegExp;
}

const line = (words: string, exit: number, says: RegExp): CommandCase => ({ what: `sheaf ${words}`, words: words.split(" "), exit, says });
const words = (what: string, list: readonly string[], exit: number, says: RegExp): CommandCase => ({ what, words: list, exit, says });
const file = (what: string, content: string | Buffer, says: RegExp, exit = 2): CommandCase => ({
  what: `apply -f: ${what}`,
  words: ["apply", "-f", "FILE"],
  file: content,
  exit,
  says,
});
const machine = (spec: string): string => `kind: vm\nname: bad\nspec: ${spec}\n`;
const aliases = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n";

export const commandCases: readonly CommandCase[] = [
  line("vm fly", 2, /unknown command 'fly'/),
  line("vm show", 2, /missing required argument/),
  line("vm list --output xml", 2, /Allowed choices are/),
  line("vm show nothing", 3, /no vm nothing/),
  line("-p nowhere vm list", 3, /project/),
  line("vm create web --memory 128MiB", 4, /web/),
  line("vm create bad --memory 4GiBytes", 2, /size such as/),
  line("vm create bad --memory -1GiB", 2, /size such as/),
  line("vm create bad --cpus 1e9", 2, /whole number/),
  line("vm create bad --count 100000", 2, /1 to 1000/),
  line("vm create bad --image ../mini", 2, /image/),
  line("vm create bad --image nothing", 3, /nothing/),
  line("vm create bad --label tier", 2, /key=value/),
  line("vm create bad --user-data /no/such/file", 2, /cannot be read/),
  line("vm create bad --on nowhere", 3, /nowhere/),
  line("vm resize web --disk root=much", 2, /size such as/),
  line("vm resize web --disk swap=1GiB", 3, /no disk swap/),
  line("vm reboot web", 4, /web/),
  line("vm delete", 2, /Name the machines/),
  line("image delete mini", 4, /use/),
  line("image import bad /etc", 2, /no file/),
  line("image import bad file:///etc/shadow", 2, /cannot be read/),
  line("volume create bad --size 64TiB --pool full", 4, /left/),
  line("network create bad --bridge br0 --subnet 10.0.5.0/24 --range 10.0.5.9", 2, /FIRST-LAST/),
  line("user create bad --password-file /no/such/file", 2, /cannot be read/),
  line("host remove h1", 4, /h1/),
  line("watch cow", 2, /kind/),
  line("-s nonsense://x vm list", 2, /no address/),
  line("-s https://127.0.0.1:1 vm list", 6, /cannot be reached/),
  words("a shell's words as a name", ["vm", "create", "bad;touch /tmp/bad"], 2, /name/),
  words("a line break in a name", ["vm", "create", "bad\nworse"], 2, /name/),
  words("XML as a display of a project", ["project", "create", "<project/>"], 2, /name/),
  words("an escape sequence as a name", ["vm", "show", "\u001b]0;owned\u0007"], 2, /id/),
  words("a path as a name", ["vm", "delete", "../hosts/h1"], 2, /id/),
  words("an empty name", ["vm", "show", ""], 2, /./),
  { what: "an image that is none", words: ["image", "import", "bad", "FILE", "--wait", "--type", "cow"], file: "x", exit: 2, says: /disk or iso/ },

  file("nothing", "", /no document/),
  file("a list of texts", "- a\n- b\n", /no mapping/),
  file("no kind", "name: bad\nspec: {}\n", /kind/),
  file("an unknown kind", "kind: cow\nname: bad\nspec: {}\n", /none of/),
  file("no name", "kind: vm\nspec: {}\n", /no name/),
  file("no spec", "kind: vm\nname: bad\n", /no spec/),
  file("a field that no record has", "kind: vm\nname: bad\ncolor: red\nspec: {}\n", /color/),
  file("an unknown field of the spec", machine("{cpus: 2}"), /\/spec\/cpus/),
  file("a text as a number", machine("{memory: {bytes: 4GiB}}"), /\/spec\/memory\/bytes/),
  file("not a number", machine("{cpu: {count: .nan}}"), /no number/),
  file("a number without end", machine("{cpu: {count: .inf}}"), /no number/),
  file("1e309", '{"kind":"vm","name":"bad","spec":{"cpu":{"count":1e309}}}', /no number/),
  file("2^53 + 1", machine("{disks: [{name: root, sizeBytes: 9007199254740993}]}"), /sizeBytes/),
  file("a member twice", '{"kind":"vm","name":"bad","spec":{"power":"stopped","power":"running"}}', /unique/),
  file("a document twice", `${machine("{}")}---\n${machine("{power: stopped}")}`, /twice/),
  file("aliases that grow", `${aliases}kind: vm\nname: bad\nspec: {}\n`, /alias/),
  file("a document that holds itself", machine("&s {again: *s}"), /itself|deeply/),
  file("1,000 levels", machine(`${"{a: ".repeat(1000)}1${"}".repeat(1000)}`), /deep/),
  file("broken YAML", "kind: vm\n  name: [bad\n", /not valid YAML/),
  file("a NUL", 'kind: vm\nname: bad\nspec: {cloudInit: {userData: "a\\0b"}}\n', /userData/),
  file("bytes that are no text", Buffer.from([0x6b, 0xff, 0xfe, 0x00, 0x3a]), /no UTF-8/),
  file("a path as a name", "kind: network\nname: ../../bad\nspec: {bridge: br0}\n", /id|name/),
  file("XML as a bridge", 'kind: network\nname: bad\nspec: {bridge: "br0\'/><x"}\n', /\/spec\/bridge/),
  file("a tag that makes objects", 'kind: vm\nname: bad\nspec: !!js/function "function(){}"\n', /no spec|spec/),
  file("a prototype", '{"kind":"vm","name":"bad","spec":{"__proto__":{"power":"stopped"}}}', /__proto__/),
  file("a host that never joined", "kind: host\nname: h9\nspec: {}\n", /hosts join/, 3),
  file("what an id may not be changed to", "kind: vm\nname: web\nnumber: 99999\nspec: {}\n", /number/, 4),
  file("a good document before a bad one", `kind: network\nname: good\nspec: {bridge: br0}\n---\n${machine("{cpus: 1}")}`, /\/spec\/cpus/),
  file(
    "a good document before one whose network is missing",
    `kind: network\nname: good\nspec: {bridge: br0}\n---\n${machine("{nics: [{name: a, network: nothing}]}")}`,
    /nothing/,
    3,
  ),
  file("a file of 3 MB", `kind: vm\nname: bad\ndisplayName: ${"x".repeat(3_000_000)}\nspec: {}\n`, /larger/),
];
