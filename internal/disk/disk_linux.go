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
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(f, 0, 1<<62))
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(d.Shadow, name))
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
