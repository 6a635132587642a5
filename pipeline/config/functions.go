package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// outside marks values that come from env or file: no diagnostic prints them.
type outside struct{}

// maxFile bounds what file() reads.
const maxFile = 1 << 20

// Function is a function of the language as the reference describes it.
type Function struct {
	Name      string
	Signature string // env(name, default)
	Doc       string // one sentence
	// Example is an expression and Result the expression of what it gives; "" where that depends on the machine.
	Example, Result string

	impl function.Function
}

// Functions lists the functions of the language by group, as the reference shows them. Those of the group "Machine" can't be called
// by way of this list.
func Functions() []FunctionGroup {
	return []FunctionGroup{
		{"Machine", []Function{
			{Name: "env", Signature: `env(name)`, Doc: "The environment variable of that name. One that isn't set is a fault; one that is set and empty gives \"\".", Example: `env("MYSQL_PASSWORD")`},
			{Name: "env", Signature: `env(name, default)`, Doc: "The environment variable of that name, or the default where it isn't set.", Example: `env("MYSQL_HOST", "localhost")`},
			{Name: "file", Signature: `file(path)`, Doc: "The text of a file of at most 1MiB. A relative path begins at the config's folder. The file is read when the config is; a `*_file` attribute is read again when the file changes.", Example: `file("servers.json")`},
			{Name: "hostname", Signature: `hostname()`, Doc: "The host's name: agent.host, else the environment variable HERMOD_HOST, else the name that the agent finds.", Example: `hostname()`},
			{Name: "ec2", Signature: `ec2(item)`, Doc: "What this EC2 machine is told about itself, by its path below `meta-data/` of the instance metadata service (IMDSv2 only): \"instance-id\", \"instance-type\", \"local-ipv4\", \"placement/availability-zone\", \"placement/region\", \"tags/instance/NAME\" where tags are allowed there. Where nobody answers within two seconds it is a fault.", Example: `ec2("instance-id")`},
			{Name: "ec2", Signature: `ec2(item, default)`, Doc: "The same, or the default where it can't be had.", Example: `ec2("placement/availability-zone", "none")`},
			{Name: "ecs", Signature: `ecs(item)`, Doc: "What this container of an ECS or Fargate task is told about the task: \"cluster\", \"family\", \"revision\", \"task\" (its id), \"availability_zone\" or \"region\". Outside of a task it is a fault.", Example: `ecs("cluster")`},
			{Name: "ecs", Signature: `ecs(item, default)`, Doc: "The same, or the default where it can't be had.", Example: `ecs("task", hostname())`},
		}},
		{"Strings", stringFunctions()},
		{"Collections", collectionFunctions()},
		{"Numbers", numberFunctions()},
		{"Encoding and types", encodingFunctions()},
	}
}

// FunctionGroup is a heading of the reference and what stands under it.
type FunctionGroup struct {
	Title     string
	Functions []Function
}

func stringFunctions() []Function {
	return []Function{
		{"upper", "upper(text)", "Upper case.", `upper("nas")`, `"NAS"`, stdlib.UpperFunc},
		{"lower", "lower(text)", "Lower case.", `lower("NAS")`, `"nas"`, stdlib.LowerFunc},
		{"title", "title(text)", "The first letter of each word in upper case.", `title("web shop")`, `"Web Shop"`, stdlib.TitleFunc},
		{"strlen", "strlen(text)", "How many characters text has.", `strlen("grün")`, `4`, stdlib.StrlenFunc},
		{"strrev", "strrev(text)", "The characters from last to first.", `strrev("abc")`, `"cba"`, stdlib.ReverseFunc},
		{"substr", "substr(text, offset, length)", "A part of text. A negative offset counts from the end, length -1 means all that is left.", `substr("hermod", 0, 3)`, `"her"`, stdlib.SubstrFunc},
		{"trim", "trim(text, characters)", "text without these characters at both ends.", `trim("--a--", "-")`, `"a"`, stdlib.TrimFunc},
		{"trimprefix", "trimprefix(text, prefix)", "text without the prefix.", `trimprefix("/host/proc", "/host")`, `"/proc"`, stdlib.TrimPrefixFunc},
		{"trimsuffix", "trimsuffix(text, suffix)", "text without the suffix.", `trimsuffix("db.lan", ".lan")`, `"db"`, stdlib.TrimSuffixFunc},
		{"trimspace", "trimspace(text)", "text without white space at both ends.", `trimspace(" a ")`, `"a"`, stdlib.TrimSpaceFunc},
		{"chomp", "chomp(text)", "text without line ends at its end.", `chomp("a\n")`, `"a"`, stdlib.ChompFunc},
		{"replace", "replace(text, part, by)", "text with each occurrence of part replaced.", `replace("a.b", ".", "_")`, `"a_b"`, stdlib.ReplaceFunc},
		{"regexreplace", "regexreplace(text, pattern, by)", "text with each match of an RE2 pattern replaced; $1 in by is the first group.", `regexreplace("web-12", "-\\d+", "")`, `"web"`, stdlib.RegexReplaceFunc},
		{"regex", "regex(pattern, text)", "The first match: a string, a list where the pattern has groups, an object where they have names. No match is a fault.", `regex("\\d+", "web-12")`, `"12"`, stdlib.RegexFunc},
		{"regexall", "regexall(pattern, text)", "All matches, as regex gives them.", `regexall("\\d", "a1b2")`, `["1", "2"]`, stdlib.RegexAllFunc},
		{"split", "split(separator, text)", "The parts of text between separators.", `split(",", "a,b")`, `["a", "b"]`, stdlib.SplitFunc},
		{"join", "join(separator, list)", "One string of a list of strings.", `join("|", ["a", "b"])`, `"a|b"`, stdlib.JoinFunc},
		{"format", "format(format, values...)", "Text with values put in for %s, %d, %q, %v and their like.", `format("%s:%d", "db", 3306)`, `"db:3306"`, boundedFormat(stdlib.FormatFunc)},
		{"formatlist", "formatlist(format, lists...)", "format for each element of lists.", `formatlist("%s:9100", ["a", "b"])`, `["a:9100", "b:9100"]`, boundedFormat(stdlib.FormatListFunc)},
	}
}

func collectionFunctions() []Function {
	return []Function{
		{"length", "length(collection)", "How many elements a list, set or map has.", `length(["a", "b"])`, `2`, stdlib.LengthFunc},
		{"concat", "concat(lists...)", "The elements of all lists, one after the other.", `concat(["a"], ["b"])`, `["a", "b"]`, stdlib.ConcatFunc},
		{"contains", "contains(list, value)", "Whether value is an element.", `contains(["a", "b"], "b")`, `true`, stdlib.ContainsFunc},
		{"distinct", "distinct(list)", "The list without repeats.", `distinct(["a", "b", "a"])`, `["a", "b"]`, stdlib.DistinctFunc},
		{"element", "element(list, index)", "The element at index, counted from 0, beginning anew after the last.", `element(["a", "b"], 3)`, `"b"`, stdlib.ElementFunc},
		{"index", "index(collection, key)", "The element at a position of a list or a key of a map.", `index(["a", "b"], 1)`, `"b"`, stdlib.IndexFunc},
		{"hasindex", "hasindex(collection, key)", "Whether index would find something.", `hasindex(["a"], 1)`, `false`, stdlib.HasIndexFunc},
		{"lookup", "lookup(map, key, default)", "The value at key, or the default.", `lookup({ a = "x" }, "b", "none")`, `"none"`, stdlib.LookupFunc},
		{"keys", "keys(map)", "The keys, sorted.", `keys({ b = 1, a = 2 })`, `["a", "b"]`, stdlib.KeysFunc},
		{"values", "values(map)", "The values in the order of their keys.", `values({ b = 1, a = 2 })`, `[2, 1]`, stdlib.ValuesFunc},
		{"merge", "merge(maps...)", "One map of several; the later wins.", `merge({ a = 1 }, { a = 2, b = 3 })`, `{ a = 2, b = 3 }`, stdlib.MergeFunc},
		{"zipmap", "zipmap(keys, values)", "A map of a list of keys and a list of values.", `zipmap(["a", "b"], [1, 2])`, `{ a = 1, b = 2 }`, stdlib.ZipmapFunc},
		{"flatten", "flatten(list)", "One list of lists within lists.", `flatten([["a"], ["b", ["c"]]])`, `["a", "b", "c"]`, stdlib.FlattenFunc},
		{"reverse", "reverse(list)", "The elements from last to first.", `reverse(["a", "b"])`, `["b", "a"]`, stdlib.ReverseListFunc},
		{"slice", "slice(list, start, end)", "The elements from start up to but not including end.", `slice(["a", "b", "c"], 0, 2)`, `["a", "b"]`, stdlib.SliceFunc},
		{"sort", "sort(list)", "Strings in order.", `sort(["b", "a"])`, `["a", "b"]`, stdlib.SortFunc},
		{"compact", "compact(list)", "A list of strings without the empty ones.", `compact(["a", ""])`, `["a"]`, stdlib.CompactFunc},
		{"coalesce", "coalesce(values...)", "The first value that isn't null.", `coalesce(null, "a")`, `"a"`, stdlib.CoalesceFunc},
		{"coalescelist", "coalescelist(lists...)", "The first list that isn't empty.", `coalescelist([], ["a"])`, `["a"]`, stdlib.CoalesceListFunc},
		{"chunklist", "chunklist(list, size)", "Lists of at most size elements.", `chunklist(["a", "b", "c"], 2)`, `[["a", "b"], ["c"]]`, stdlib.ChunklistFunc},
		{"range", "range(start, limit, step)", "Numbers from start (0) by step (1) up to but not including limit; at most 1024.", `range(3)`, `[0, 1, 2]`, stdlib.RangeFunc},
		{"setunion", "setunion(sets...)", "What is in any of the sets.", `setunion(["a"], ["b"])`, `toset(["a", "b"])`, stdlib.SetUnionFunc},
		{"setintersection", "setintersection(sets...)", "What is in all of the sets.", `setintersection(["a", "b"], ["b"])`, `toset(["b"])`, stdlib.SetIntersectionFunc},
		{"setsubtract", "setsubtract(a, b)", "What is in a and not in b.", `setsubtract(["a", "b"], ["b"])`, `toset(["a"])`, stdlib.SetSubtractFunc},
	}
}

func numberFunctions() []Function {
	return []Function{
		{"min", "min(numbers...)", "The smallest number.", `min(3, 2)`, `2`, stdlib.MinFunc},
		{"max", "max(numbers...)", "The largest number.", `max(3, 2)`, `3`, stdlib.MaxFunc},
		{"abs", "abs(number)", "The number without its sign.", `abs(-2)`, `2`, stdlib.AbsoluteFunc},
		{"ceil", "ceil(number)", "Rounded up.", `ceil(1.2)`, `2`, stdlib.CeilFunc},
		{"floor", "floor(number)", "Rounded down.", `floor(1.8)`, `1`, stdlib.FloorFunc},
		{"parseint", "parseint(text, base)", "The whole number that text is in a base.", `parseint("ff", 16)`, `255`, stdlib.ParseIntFunc},
	}
}

func encodingFunctions() []Function {
	return []Function{
		{"jsonencode", "jsonencode(value)", "JSON of a value.", `jsonencode({ a = [1] })`, `"{\"a\":[1]}"`, stdlib.JSONEncodeFunc},
		{"jsondecode", "jsondecode(text)", "The value of JSON.", `jsondecode("[1, true]")`, `[1, true]`, stdlib.JSONDecodeFunc},
		{"csvdecode", "csvdecode(text)", "A list of objects of CSV, whose first line names the columns.", `csvdecode("name,port\ndb,3306")`, `[{ name = "db", port = "3306" }]`, stdlib.CSVDecodeFunc},
		{"tostring", "tostring(value)", "A number or bool as text.", `tostring(5)`, `"5"`, stdlib.MakeToFunc(cty.String)},
		{"tonumber", "tonumber(value)", "Text as a number.", `tonumber("5")`, `5`, stdlib.MakeToFunc(cty.Number)},
		{"tobool", "tobool(value)", "\"true\" and \"false\" as a bool.", `tobool("true")`, `true`, stdlib.MakeToFunc(cty.Bool)},
		{"tolist", "tolist(value)", "A set or tuple as a list.", `tolist(toset(["a"]))`, `["a"]`, stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType))},
		{"toset", "toset(value)", "A list without order and repeats.", `length(toset(["a", "a"]))`, `1`, stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType))},
		{"tomap", "tomap(value)", "An object as a map, whose values have one type.", `tomap({ a = 1, b = "x" })`, `{ a = "1", b = "x" }`, stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType))},
	}
}

// tooWide finds a width or precision in a format that would make text of ten thousand characters and more.
var tooWide = regexp.MustCompile(`%[^%a-zA-Z]*[0-9]{5,}`)

// boundedFormat is format or formatlist with a bound on widths, so that a slip of the pen can't ask for a gigabyte of blanks.
func boundedFormat(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) { return f.ReturnTypeForValues(args) },
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if tooWide.MatchString(args[0].AsString()) {
				return cty.NilVal, function.NewArgErrorf(0, "a width is at most 9999")
			}
			return f.Call(args)
		},
	})
}

// functions are those that an expression can call.
func (e *evaluator) functions() map[string]function.Function {
	out := map[string]function.Function{"env": e.env(), "file": e.file(), "hostname": e.hostname(), "ec2": e.metadata("ec2", checkEC2), "ecs": e.metadata("ecs", checkECS)}
	for _, g := range Functions()[1:] {
		for _, f := range g.Functions {
			out[f.Name] = f.impl
		}
	}
	return out
}

// remedied is an error of one of our own functions: its text shows no value of an argument that isn't to be shown.
type remedied struct{ what, remedy string }

func (e *remedied) Error() string { return e.what + ": " + e.remedy }

// shown is the text of an argument for a message.
func shown(v cty.Value) (text, name string) {
	plain, marks := v.Unmark()
	text = plain.AsString()
	if len(marks) > 0 {
		return text, "(not shown)"
	}
	return text, text
}

func (e *evaluator) env() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String, AllowMarked: true}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String, AllowMarked: true},
		Type: func(args []cty.Value) (cty.Type, error) {
			if len(args) > 2 {
				return cty.String, &remedied{"env takes a name and at most one default", `Write env("NAME") or env("NAME", "default").`}
			}
			return cty.String, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name, display := shown(args[0])
			if value, ok := e.options.Getenv(name); ok {
				if !utf8.ValidString(value) {
					return cty.NilVal, &remedied{"The environment variable " + display + " isn't text in UTF-8", "Set it to text."}
				}
				return cty.StringVal(value).Mark(outside{}), nil
			}
			if len(args) > 1 {
				return args[1].Mark(outside{}), nil
			}
			return cty.NilVal, &remedied{
				"The environment variable " + display + " isn't set",
				fmt.Sprintf("Set it, or give a default: env(%s, \"...\").", strconv.Quote(display)),
			}
		},
	})
}

func (e *evaluator) file() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String, AllowMarked: true}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path, display := shown(args[0])
			if path == "" {
				return cty.NilVal, &remedied{"file() was given an empty path", "Name a file; a relative path begins at the config's folder."}
			}
			text, err := readSmall(e.path(path), maxFile)
			if err == nil && !utf8.Valid(text) {
				err = fmt.Errorf("%s isn't text in UTF-8", e.path(path))
			}
			if err != nil {
				what := "The file " + err.Error()
				if display != path {
					what = "The file can't be read"
				}
				return cty.NilVal, &remedied{what, "A relative path begins at the config's folder."}
			}
			return cty.StringVal(string(text)).Mark(outside{}), nil
		},
	})
}

func (e *evaluator) hostname() function.Function {
	return function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			if e.host != "" {
				return cty.StringVal(e.host), nil
			}
			if e.hostUnderway {
				return cty.NilVal, &remedied{"hostname() asks for agent.host", "agent.host can't be made of hostname(), because it is what hostname() gives. Write the name, or leave agent.host out."}
			}
			if name, ok := e.options.Getenv("HERMOD_HOST"); ok && name != "" && utf8.ValidString(name) {
				return cty.StringVal(name), nil
			}
			return cty.StringVal(e.options.Hostname()), nil
		},
	})
}

// Remedied is an error that says what is wrong, and as a sentence without its full stop what to do.
func Remedied(what, remedy string) error { return &remedied{what, capital(remedy) + "."} }

// metadata is ec2 or ecs. check says what is wrong with an item that can't be, whatever the machine.
func (e *evaluator) metadata(name string, check func(item string) error) function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "item", Type: cty.String, AllowMarked: true}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String, AllowMarked: true},
		Type: func(args []cty.Value) (cty.Type, error) {
			if len(args) > 2 {
				return cty.String, &remedied{name + " takes an item and at most one default", fmt.Sprintf("Write %[1]s(\"ITEM\") or %[1]s(\"ITEM\", \"...\").", name)}
			}
			return cty.String, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			item, display := shown(args[0])
			if err := check(item); err != nil {
				if display != item {
					err = &remedied{name + "() can't take what it is given", "The value comes from env() or file() and isn't shown."}
				}
				return cty.NilVal, err
			}
			text, err := e.ask(name, item)
			if err == nil {
				return cty.StringVal(text), nil
			}
			if len(args) > 1 {
				return args[1], nil
			}
			if display != item {
				return cty.NilVal, &remedied{name + "() can't have what it is given", "The value comes from env() or file() and isn't shown. Check it, or give a default."}
			}
			what, remedy := err.Error(), ""
			if own := new(remedied); errors.As(err, &own) {
				what, remedy = own.what, own.remedy+" "
			}
			return cty.NilVal, &remedied{
				fmt.Sprintf("%s(%s) can't be had: %s", name, strconv.Quote(item), what),
				fmt.Sprintf("%sOr give a default: %s(%s, \"...\").", remedy, name, strconv.Quote(item)),
			}
		},
	})
}

// answer is what a machine or a task said, or why it didn't.
type answer struct {
	text string
	err  error
}

// ask asks a machine or a task once for each item, so that an expression has the same value wherever it is evaluated.
func (e *evaluator) ask(name, item string) (string, error) {
	key := name + " " + item
	a, known := e.told[key]
	if !known {
		a.err = Remedied("there is no metadata here", "run the agent where there is")
		if e.options.Metadata != nil {
			a.text, a.err = e.options.Metadata(name, item)
		}
		if a.err == nil && !utf8.ValidString(a.text) {
			a = answer{err: Remedied("it isn't text in UTF-8", "see who answers")}
		}
		if e.told == nil {
			e.told = map[string]answer{}
		}
		e.told[key] = a
	}
	return a.text, a.err
}

// checkEC2 lets paths of items through, but not those that end in keys.
func checkEC2(item string) error {
	const like = `Items are like "instance-id" and "placement/availability-zone".`
	for _, secret := range []string{"iam", "identity-credentials"} {
		if item == secret || strings.HasPrefix(item, secret+"/") {
			return &remedied{"ec2() gives no credentials", "The sigv4 block of an output finds them by itself."}
		}
	}
	for part := range strings.SplitSeq(item, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, unicode.IsControl) {
			return &remedied{fmt.Sprintf("%s is no item of an EC2 machine's metadata", quote(item)), like}
		}
	}
	return nil
}

func checkECS(item string) error {
	items := []string{"cluster", "family", "revision", "task", "availability_zone", "region"}
	if !slices.Contains(items, item) {
		return &remedied{fmt.Sprintf("ECS says nothing of %s%s", quote(item), Suggest(item, items)), "Items are " + strings.Join(items, ", ") + "."}
	}
	return nil
}

// path makes a path of the config absolute: a relative one begins at the config's folder.
func (e *evaluator) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(e.dir, p)
}

// functionNames are the names of functions, for suggestions.
func (e *evaluator) functionNames() []string {
	names := make([]string, 0, len(e.funcs))
	for name := range e.funcs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
