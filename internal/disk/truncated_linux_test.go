package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A part of what was cut off is nothing that a power failure leaves.
func TestAFileThatIsTruncatedDuringItsSyncIsKeptWithAllThatItHadOrNothing(t *testing.T) {
	d := made(t)
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
		"of libc": libcSync(t, d, name),
	} {
		t.Run(way, func(t *testing.T) {
			if toDisk == nil {
				t.Skip("it needs a C compiler and sync(1)")
			}
			for range 20 {
				require.NoError(t, os.WriteFile(name, all, 0o600))
				var over atomic.Bool
				var both sync.WaitGroup
				both.Go(func() {
					for !over.Load() && !isThere(filepath.Join(d.Shadow, "a.part")) { // the copy has not begun
						runtime.Gosched()
					}
					for range rand.IntN(200) {
						runtime.Gosched()
					}
					if err := os.Truncate(name, 0); err != nil {
						t.Error(err)
					}
				})
				err := toDisk()
				over.Store(true)
				both.Wait()
				require.NoError(t, err)
				kept, err := d.Synced("a")
				require.NoError(t, err)
				require.Contains(t, []int{0, len(all)}, len(kept))
			}
		})
	}
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
