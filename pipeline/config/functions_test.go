package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// Every example of the reference gives what the reference says.
func TestEveryFunctionGivesWhatItsExampleSays(t *testing.T) {
	for _, group := range config.Functions() {
		for _, f := range group.Functions {
			if f.Doc == "" || f.Signature == "" || f.Example == "" {
				t.Errorf("%s is not documented", f.Name)
			}
			if group.Title == "Machine" {
				continue
			}
			t.Run(f.Name, func(t *testing.T) {
				// Both sides go through jsonencode, which makes lists of sets and tuples.
				f2 := mustParse(t, `
locals {
  got  = `+f.Example+`
  want = `+f.Result+`
}
input "mysql" "x" {
  address = jsonencode(local.got)
  user    = jsonencode(local.want)
}
`)
				c := f2.Blocks[0].Config.(*mysqlConfig)
				if c.Address != c.User {
					t.Errorf("%s is %s, not %s", f.Example, c.Address, c.User)
				}
			})
		}
	}
}

func TestFunctionsOfTheMachine(t *testing.T) {
	f := mustParse(t, `
input "mysql" "x" {
  address = env("PASSWORD")
  user    = env("UNSET", "default")
  tables  = [env("EMPTY"), env("EMPTY", "default"), hostname(), env("HOSTS")]
}
input "mysql" "each" {
  for_each = split(",", env("HOSTS"))
  address  = each.value
}
`)
	c := f.Blocks[0].Config.(*mysqlConfig)
	if c.Address != "hunter2" || c.User != "default" || c.Tables[0] != "" || c.Tables[1] != "" || c.Tables[2] != "machine" {
		t.Errorf("%+v", c)
	}
	if got := addresses(f); got != `input.mysql.x input.mysql.each["a"] input.mysql.each["b"]` {
		t.Errorf("for_each over the environment: %s", got)
	}
}

// cloud stands in for what AWS tells a machine or a task.
func cloud(asked *[]string) func(function, item string) (string, error) {
	return func(function, item string) (string, error) {
		*asked = append(*asked, function+" "+item)
		text, ok := map[string]string{
			"ec2 instance-id": "i-1", "ec2 tags/instance/Cost Center": "42", "ecs cluster": "prod", "ec2 odd": "\xff",
		}[function+" "+item]
		switch {
		case ok:
			return text, nil
		case item == "plain":
			return "", errors.New("plain error")
		}
		return "", config.Remedied("no answer from http://169.254.169.254", "run this on EC2")
	}
}

func TestAMachineAndATaskAreAskedWhatTheyAre(t *testing.T) {
	var asked []string
	o := testOptions()
	o.Metadata = cloud(&asked)
	f, diags := config.Parse(map[string][]byte{"test.hcl": []byte(`
agent {
  host = ec2("instance-id")
}
input "mysql" "x" {
  address = hostname()
  user    = ec2("placement/region", "nowhere")
  tables  = [ec2("tags/instance/Cost Center"), ecs("cluster"), ecs("task", hostname())]
}
`)}, o)
	if diags.HasErrors() {
		t.Fatal(config.Render(diags, nil, false))
	}
	c := f.Blocks[0].Config.(*mysqlConfig)
	if got := strings.Join(append([]string{c.Address, c.User}, c.Tables...), " "); got != "i-1 nowhere 42 prod i-1" {
		t.Errorf("%s", got)
	}
	if len(asked) != 5 {
		t.Errorf("asked %q", asked)
	}
}

func TestWhatAMachineOrATaskDoesNotTellIsAFaultWithARemedy(t *testing.T) {
	for _, c := range []struct {
		expr, summary, detail string
		asks                  bool
	}{
		{`ec2("placement/region")`, `ec2("placement/region") can't be had: no answer from http://169.254.169.254`, `Run this on EC2. Or give a default: ec2("placement/region", "...").`, true},
		{`ecs("task")`, `ecs("task") can't be had: no answer from http://169.254.169.254`, `Or give a default: ecs("task", "...").`, true},
		{`ec2("plain")`, `ec2("plain") can't be had: plain error`, `Or give a default`, true},
		{`ec2("odd")`, `isn't text in UTF-8`, `See who answers.`, true},
		{`ec2(env("PASSWORD"))`, `ec2() can't have what it is given`, `isn't shown`, true},
		// What no machine has is a fault with a default too.
		{`ec2("", "x")`, `"" is no item of an EC2 machine's metadata`, `instance-id`, false},
		{`ec2("/instance-id", "x")`, `"/instance-id" is no item`, `instance-id`, false},
		{`ec2("../user-data", "x")`, `is no item`, `instance-id`, false},
		{`ec2("iam/security-credentials/role", "x")`, `ec2() gives no credentials`, `sigv4`, false},
		{`ec2("identity-credentials/ec2/info", "x")`, `ec2() gives no credentials`, `sigv4`, false},
		{`ecs("clster", "x")`, `ECS says nothing of "clster"; did you mean "cluster"?`, `availability_zone`, false},
		{`ecs(env("PASSWORD"), "x")`, `ecs() can't take what it is given`, `isn't shown`, false},
		{`ec2("instance-id", "a", "b")`, `ec2 takes an item and at most one default`, `ec2("ITEM")`, false},
	} {
		var asked []string
		o := testOptions()
		o.Metadata = cloud(&asked)
		_, diags := config.Parse(map[string][]byte{"test.hcl": []byte("input \"mysql\" \"x\" {\n  address = " + c.expr + "\n}\n")}, o)
		if len(diags) != 1 || !strings.Contains(diags[0].Summary, c.summary) || !strings.Contains(diags[0].Detail, c.detail) {
			t.Errorf("%s: %s", c.expr, config.Render(diags, nil, false))
		}
		if strings.Contains(config.Render(diags, nil, false), "hunter2") {
			t.Errorf("%s shows a secret", c.expr)
		}
		if (len(asked) > 0) != c.asks {
			t.Errorf("%s asked %q", c.expr, asked)
		}
	}
}

func TestWithoutMetadataADefaultCounts(t *testing.T) {
	f := mustParse(t, `
input "mysql" "x" {
  address = ec2("instance-id", "none")
}
`)
	if c := f.Blocks[0].Config.(*mysqlConfig); c.Address != "none" {
		t.Errorf("%q", c.Address)
	}
	var diags hcl.Diagnostics
	if _, diags = parse(t, `
input "mysql" "x" {
  address = ecs("task")
}
`); len(diags) != 1 || !strings.Contains(diags[0].Summary, "there is no metadata here") {
		t.Errorf("%s", config.Render(diags, nil, false))
	}
}
