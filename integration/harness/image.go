//go:build integration

package harness

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The image of the Dockerfile is made once in a run of the tests; later ones get the same, or the same fault.
var (
	agentImageOnce  sync.Once
	agentImageFault error
)

const agentImage = "hermod-it-image:latest"

// AgentImage is the image of the Dockerfile, made of the sources as they are.
func AgentImage(t testing.TB) string {
	t.Helper()
	agentImageOnce.Do(func() {
		before, _ := try("docker", "image", "inspect", "--format", "{{.Id}}", agentImage)
		if agentImageFault = buildImage(Sources(t), agentImage); agentImageFault != nil || before == "" {
			return
		}
		if now, err := try("docker", "image", "inspect", "--format", "{{.Id}}", agentImage); err == nil && now != before {
			try("docker", "rmi", before) //nolint:errcheck // a container of another run may still use it
		}
	})
	if agentImageFault != nil {
		t.Fatal(agentImageFault)
	}
	return agentImage
}

// ImageOf makes an image of sources, for the tests that look at how it is made. It leaves with the test.
func ImageOf(t testing.TB, sources, name string, buildArgs ...string) string {
	t.Helper()
	name = RunID() + "-" + name
	if err := buildImage(sources, name, buildArgs...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := try("docker", "rmi", name); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return name
}

// buildImage runs docker build, where compilers come from integration/setup/go-image. VERSION is "it".
func buildImage(sources, name string, buildArgs ...string) error {
	compiler, err := exec.Command(filepath.Join(sources, "integration", "setup", "go-image")).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("making the image to compile in: %w", err)
	}
	engine, err := try("docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
	if err != nil {
		return err
	}
	args := []string{"build", "-q", "-t", name, "--build-arg", "GO_IMAGE=" + strings.TrimSpace(string(compiler)), "--build-arg", "CLASSIC_PLATFORM=" + engine}
	for _, arg := range append([]string{"VERSION=it"}, buildArgs...) {
		args = append(args, "--build-arg", arg)
	}
	_, err = try("docker", append(args, sources)...)
	return err
}

// Sources copies what git has, or would have, of this checkout, to a folder of the test's own.
func Sources(t testing.TB) string {
	t.Helper()
	root, to := repository(t), t.TempDir()
	for name := range strings.SplitSeq(command(t, "git", "-C", root, "ls-files", "-coz", "--exclude-standard"), "\x00") {
		info, err := os.Lstat(filepath.Join(root, name))
		if name == "" || err != nil || !info.Mode().IsRegular() {
			continue // deleted and not yet committed
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), content, info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// ImageFile is a file or folder of an image.
type ImageFile struct {
	tar.Header
	Content []byte
}

// ImageFiles are all files of an image by their paths, without what Docker itself puts into a container.
func ImageFiles(t testing.TB, image string) map[string]ImageFile {
	t.Helper()
	id := command(t, "docker", "create", image)
	defer try("docker", "rm", id) //nolint:errcheck // it never ran
	export := exec.Command("docker", "export", id)
	var archive, stderr bytes.Buffer
	export.Stdout, export.Stderr = &archive, &stderr
	if err := export.Run(); err != nil {
		t.Fatalf("docker export: %v\n%s", err, &stderr)
	}
	docker := []string{"/.dockerenv", "/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}
	out := map[string]ImageFile{}
	for reader := tar.NewReader(&archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		path := "/" + strings.Trim(header.Name, "/")
		added := false
		for _, d := range docker {
			added = added || path == d || strings.HasPrefix(path, d+"/")
		}
		if added {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = ImageFile{*header, content}
	}
}

// Build compiles the agent of sources with the flags of the Dockerfile, by the compiler named, for the processor of this machine.
func Build(t testing.TB, sources, compiler string) []byte {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hermod")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=it", "-o", binary, "./cmd/hermod")
	build.Dir = sources
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOTOOLCHAIN="+compiler)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// SystemdImage is Debian with systemd as its first process, for the tests of units.
func SystemdImage(t testing.TB) string {
	t.Helper()
	const name = "hermod-it-systemd:bookworm"
	command(t, filepath.Join(repository(t), "integration", "setup", "base-image"), "debian:bookworm-slim")
	build := exec.Command("docker", "build", "-q", "-t", name, "-")
	// The builder's own cache makes it a matter of a moment the next time.
	build.Stdin = strings.NewReader(`FROM debian:bookworm-slim
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-sysv dbus >/dev/null && apt-get clean
CMD ["/sbin/init"]
`)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("making %s: %v\n%s", name, err, out)
	}
	return name
}
