package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// taskDefinition is what ECS takes (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html), as far as the
// example uses it: a field that isn't here may be a slip of the pen, which ECS would refuse.
type taskDefinition struct {
	Family                  string          `json:"family"`
	RequiresCompatibilities []string        `json:"requiresCompatibilities"`
	NetworkMode             string          `json:"networkMode"`
	CPU                     string          `json:"cpu"`
	Memory                  string          `json:"memory"`
	RuntimePlatform         runtimePlatform `json:"runtimePlatform"`
	ExecutionRoleARN        string          `json:"executionRoleArn"`
	TaskRoleARN             string          `json:"taskRoleArn"`
	Containers              []taskContainer `json:"containerDefinitions"`
}

type runtimePlatform struct {
	OperatingSystemFamily string `json:"operatingSystemFamily"`
	CPUArchitecture       string `json:"cpuArchitecture"`
}

type taskContainer struct {
	Name                   string            `json:"name"`
	Image                  string            `json:"image"`
	Essential              *bool             `json:"essential"`
	CPU                    int               `json:"cpu"`
	Memory                 int               `json:"memory"`
	User                   string            `json:"user"`
	ReadonlyRootFilesystem bool              `json:"readonlyRootFilesystem"`
	StopTimeout            int               `json:"stopTimeout"`
	PortMappings           []taskPort        `json:"portMappings"`
	DependsOn              []taskDependency  `json:"dependsOn"`
	Environment            []taskVariable    `json:"environment"`
	LinuxParameters        linuxParameters   `json:"linuxParameters"`
	HealthCheck            *taskHealthCheck  `json:"healthCheck"`
	LogConfiguration       *logConfiguration `json:"logConfiguration"`
}

type taskPort struct {
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
}

type taskDependency struct {
	ContainerName string `json:"containerName"`
	Condition     string `json:"condition"`
}

type taskVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type linuxParameters struct {
	Capabilities struct {
		Drop []string `json:"drop"`
	} `json:"capabilities"`
}

type taskHealthCheck struct {
	Command     []string `json:"command"`
	Interval    int      `json:"interval"`
	Timeout     int      `json:"timeout"`
	Retries     int      `json:"retries"`
	StartPeriod int      `json:"startPeriod"`
}

type logConfiguration struct {
	LogDriver string            `json:"logDriver"`
	Options   map[string]string `json:"options"`
}

// fargateMemory are the sizes that Fargate has for a task's CPU units, in MiB
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html).
var fargateMemory = map[string][]string{
	"256": {"512", "1024", "2048"}, "512": {"1024", "2048", "3072", "4096"}, "1024": {"2048", "3072", "4096", "5120", "6144", "7168", "8192"},
}

func readStrictly(t *testing.T, path string, into any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if d.More() {
		t.Errorf("%s: something follows the document", path)
	}
}

func TestTheTaskDefinitionForFargateHasTheFormThatECSTakes(t *testing.T) {
	var task taskDefinition
	readStrictly(t, "../../examples/fargate/task-definition.json", &task)
	if !slices.Equal(task.RequiresCompatibilities, []string{"FARGATE"}) || task.NetworkMode != "awsvpc" {
		t.Errorf("Fargate has the network mode awsvpc alone: %q, %q", task.RequiresCompatibilities, task.NetworkMode)
	}
	if !slices.Contains(fargateMemory[task.CPU], task.Memory) {
		t.Errorf("Fargate has no size of %s CPU units with %s MiB", task.CPU, task.Memory)
	}
	if task.RuntimePlatform.OperatingSystemFamily != "LINUX" || !slices.Contains([]string{"X86_64", "ARM64"}, task.RuntimePlatform.CPUArchitecture) {
		t.Errorf("platform %+v", task.RuntimePlatform)
	}
	role := regexp.MustCompile(`^arn:aws:iam::\d{12}:role/[\w+=,.@-]+$`)
	if !role.MatchString(task.ExecutionRoleARN) || !role.MatchString(task.TaskRoleARN) || task.Family == "" {
		t.Errorf("family %q, roles %q and %q", task.Family, task.ExecutionRoleARN, task.TaskRoleARN)
	}
	cpu, memory, names := 0, 0, []string{}
	for _, c := range task.Containers {
		if c.Name == "" || slices.Contains(names, c.Name) || c.Image == "" || strings.HasSuffix(c.Image, ":latest") || c.Essential == nil {
			t.Errorf("container %q of %q lacks a name of its own, an image with a tag or essential", c.Name, c.Image)
		}
		names = append(names, c.Name)
		cpu, memory = cpu+c.CPU, memory+c.Memory
	}
	for _, c := range task.Containers {
		for _, d := range c.DependsOn {
			if !slices.Contains(names, d.ContainerName) || d.ContainerName == c.Name || !slices.Contains([]string{"START", "COMPLETE", "SUCCESS", "HEALTHY"}, d.Condition) {
				t.Errorf("%s depends on %+v", c.Name, d)
			}
		}
	}
	if most, _ := strconv.Atoi(task.CPU); cpu > most {
		t.Errorf("the containers ask for %d CPU units of %d", cpu, most)
	}
	if most, _ := strconv.Atoi(task.Memory); memory >= most {
		t.Errorf("the containers take %d MiB of %d", memory, most)
	}
}

func TestTheAgentOfTheTaskDefinitionHasWhatItsConfigNeeds(t *testing.T) {
	var task taskDefinition
	readStrictly(t, "../../examples/fargate/task-definition.json", &task)
	i := slices.IndexFunc(task.Containers, func(c taskContainer) bool { return c.Name == "hermod" })
	if i < 0 {
		t.Fatal("there is no container hermod")
	}
	agent := task.Containers[i]
	if *agent.Essential || agent.User != "65532:65532" || !agent.ReadonlyRootFilesystem || !slices.Equal(agent.LinuxParameters.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("the agent may do more than it has to: %+v", agent)
	}
	if agent.HealthCheck == nil || !slices.Equal(agent.HealthCheck.Command, []string{"CMD", "/usr/bin/hermod", "health"}) {
		t.Errorf("the image has no shell to check its health with: %+v", agent.HealthCheck)
	}
	// The config, with the environment that the task gives and nothing else.
	text, err := os.ReadFile("../../examples/fargate/agent.hcl")
	if err != nil {
		t.Fatal(err)
	}
	k := newConsole()
	for _, v := range agent.Environment {
		k.env[v.Name] = v.Value
	}
	o := k.configOptions(t.Context())
	o.Metadata = func(function, item string) (string, error) { return function + "-" + item, nil }
	f, diags := config.Parse(map[string][]byte{"agent.hcl": text}, o)
	if diags.HasErrors() {
		t.Fatal(render(diags, f, false))
	}
	if f.Agent.Host != "ecs-task" || f.Agent.Labels["cluster"] != "ecs-cluster" || f.Agent.Labels["zone"] != "ecs-availability_zone" {
		t.Errorf("host %q, labels %v", f.Agent.Host, f.Agent.Labels)
	}
	if drain := time.Duration(f.Agent.DrainTimeout); time.Duration(agent.StopTimeout)*time.Second <= drain || agent.StopTimeout > 120 {
		t.Errorf("ECS gives the agent %d s to stop, it takes %v, and Fargate has 120 at most", agent.StopTimeout, drain)
	}
	for _, c := range task.Containers {
		if c.Name != "hermod" && !slices.Contains(c.DependsOn, taskDependency{"hermod", "START"}) {
			t.Errorf("%s is stopped after the agent, which then misses its end", c.Name)
		}
	}
}

func TestThePolicyOfTheTasksRoleIsForTheWorkspaceThatIsPushedTo(t *testing.T) {
	var policy struct {
		Version   string
		Statement []struct{ Effect, Action, Resource string }
	}
	readStrictly(t, "../../examples/fargate/task-role-policy.json", &policy)
	var task taskDefinition
	readStrictly(t, "../../examples/fargate/task-definition.json", &task)
	if policy.Version != "2012-10-17" || len(policy.Statement) != 1 || policy.Statement[0].Effect != "Allow" || policy.Statement[0].Action != "aps:RemoteWrite" {
		t.Fatalf("%+v", policy)
	}
	workspace := regexp.MustCompile(`ws-[0-9a-f-]{36}`)
	allowed := workspace.FindString(policy.Statement[0].Resource)
	for _, c := range task.Containers {
		for _, v := range c.Environment {
			if v.Name == "METRICS_URL" && (allowed == "" || workspace.FindString(v.Value) != allowed || !strings.HasSuffix(v.Value, "/api/v1/remote_write")) {
				t.Errorf("%s is not what %s allows", v.Value, policy.Statement[0].Resource)
			}
		}
	}
}
