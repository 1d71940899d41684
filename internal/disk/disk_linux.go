package disk

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed shim/shim.c
var source []byte

// Build builds the shim in a folder and returns its path.
func Build(folder string) (shim string, err error) {
	out, err := exec.Command("go", "env", "CC").Output()
	cc := strings.Fields(string(out))
	if err != nil || len(cc) == 0 {
		cc = []string{"cc"}
	}
	if _, err := exec.LookPath(cc[0]); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	text := filepath.Join(folder, "shim.c")
	if err := os.WriteFile(text, source, 0o600); err != nil {
		return "", err
	}
	shim = filepath.Join(folder, "shim.so")
	if said, err := exec.Command(cc[0], append(cc[1:], "-O2", "-shared", "-fPIC", "-o", shim, text)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %w: %s", ErrUnsupported, err, said)
	}
	return shim, nil
}

// Fdatasync syncs a file as the shim does: it is for Go code, whose system calls pass libc by.
func (d Disk) Fdatasync(f *os.File) error {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return err
	}
	if filepath.Dir(path) != d.Folder || strings.HasSuffix(path, " (deleted)") {
		return syscall.Fdatasync(int(f.Fd()))
	}
	if _, err := os.Stat(d.Fails); d.Fails != "" && err == nil {
		return syscall.EIO
	}
	if d.Shadow != "" {
		if err := d.Locked(func() error { return d.keep(f, filepath.Base(path)) }); err != nil {
			panic(err) // a lie about what is durable would be worse
		}
	}
	if d.Takes > 0 { // in a system call, as a sync is
		left := syscall.NsecToTimespec(d.Takes.Nanoseconds())
		for syscall.Nanosleep(&left, &left) == syscall.EINTR {
		}
	}
	return nil
}

func (d Disk) keep(f *os.File, name string) error {
	part := filepath.Join(d.Shadow, name+".part")
	content, err := whole(f)
	if err != nil {
		return err
	}
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(d.Shadow, name))
}

// whole is what a file has, of the length that it has at one moment. A file system truncates a file at once: no power failure leaves a
// part of what was cut off, as a reader may see it.
func whole(f *os.File) ([]byte, error) {
	for {
		before, err := f.Stat()
		if err != nil {
			return nil, err
		}
		content := make([]byte, before.Size())
		n, err := f.ReadAt(content, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		after, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if n == len(content) && after.Size() >= before.Size() {
			return content, nil
		}
	}
}

// Written is what a file of the folder has, synced or not; nil if there is none. It is called within Locked.
func (d Disk) Written(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.Folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return whole(f)
}

// Locked does something while no sync changes the shadow.
func (d Disk) Locked(do func() error) error {
	l, err := os.OpenFile(filepath.Join(d.Shadow, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		err = syscall.Flock(int(l.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return err
	}
	return do()
}

// Synced is what a file of the folder had at its last sync; nil if it has had none.
func (d Disk) Synced(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(d.Shadow, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Restart begins this program anew, on the disk. It returns only an error. The program that is begun finds the disk by
// Current.
func (d Disk) Restart() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(program, os.Args, d.Env())
}
