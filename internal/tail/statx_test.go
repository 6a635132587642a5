package tail

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Linux 4.4, which NAS have, knows no statx, and some filters of system calls forbid it.
func TestRotationWhereThereIsNoStatx(t *testing.T) {
	known := statx
	defer func() { statx = known }()
	for _, fault := range []error{unix.ENOSYS, unix.EPERM} {
		statx = func(int, string, int, int, *unix.Statx_t) error { return fault }
		for name, test := range map[string]func(t *testing.T){
			"renamed":           TestARenamedFileIsReadToItsEndBeforeTheNewOne,
			"rotated twice":     TestAFileThatWasRotatedTwiceUnseenIsRead,
			"while down":        TestRotationWhileTheAgentWasDown,
			"by an odd name":    TestAFileRenamedToAnUnusualNameWhileDownIsFoundByIdentity,
			"truncated":         TestTruncationBeginsAnewAndIsCounted,
			"a copy":            TestTheCopyOfATruncatedFileIsNotReadAgain,
			"deleted":           TestADeletedFileIsReadToItsEnd,
			"late writes":       TestLateWritesToAClosedGenerationAreReadWithTheNextRotation,
			"not regular files": TestWhatIsNotARegularFileIsRefused,
		} {
			t.Run(fault.Error()+"/"+name, test)
		}
	}
}

func TestAMarkIsTheSameWithoutStatxButForTheBirth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := statMark(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statAtMark(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW)
	want.mark.birth = got.mark.birth
	if err != nil || got != want {
		t.Errorf("%+v, want %+v, %v", got, want, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want.path = ""
	if got, err := statAtMark(int(f.Fd()), "", unix.AT_EMPTY_PATH); err != nil || got != want {
		t.Errorf("%+v, want %+v, %v", got, want, err)
	}
	if _, err := statAtMark(unix.AT_FDCWD, filepath.Dir(path), unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, errNotFile) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := statAtMark(unix.AT_FDCWD, path+"x", unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		t.Errorf("nothing: %v", err)
	}
}
