package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A part of what was cut off is nothing that a power failure leaves.
func TestAFileThatIsTruncatedDuringItsSyncIsKeptWithAllThatItHadOrNothing(t *testing.T) {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	d := Disk{Folder: filepath.Join(folder, "disk"), Shadow: filepath.Join(folder, "shadow")}
	require.NoError(t, os.Mkdir(d.Folder, 0o700))
	require.NoError(t, os.Mkdir(d.Shadow, 0o700))
	name := filepath.Join(d.Folder, "a")
	all := bytes.Repeat([]byte("x"), 8<<20)
	for way, toDisk := range map[string]func() error{
		"of Go code": func() error {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			return d.Fdatasync(f)
		},
		"of libc": libcSync(t, &d, folder, name),
	} {
		t.Run(way, func(t *testing.T) {
			if toDisk == nil {
				t.Skip("it needs a C compiler and sync(1)")
			}
			for range 20 {
				require.NoError(t, os.WriteFile(name, all, 0o600))
				var both sync.WaitGroup
				both.Go(func() {
					for range rand.IntN(2000) {
						runtime.Gosched()
					}
					if err := os.Truncate(name, 0); err != nil {
						t.Error(err)
					}
				})
				require.NoError(t, toDisk())
				both.Wait()
				kept, err := d.Synced("a")
				require.NoError(t, err)
				require.Contains(t, []int{0, len(all)}, len(kept))
			}
		})
	}
}

// libcSync is sync(1) on a file; nil where there is none.
func libcSync(t *testing.T, d *Disk, folder, name string) func() error {
	shim, err := Build(folder)
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	require.NoError(t, err)
	d.Shim = shim
	program, err := exec.LookPath("sync")
	if err != nil {
		return nil
	}
	return func() error {
		cmd := exec.Command(program, name)
		cmd.Env = d.Env()
		return cmd.Run()
	}
}
