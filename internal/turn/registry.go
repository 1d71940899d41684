package turn

import "sync"

// registry has the databases of this process that have one writer, by their key.
var registry struct {
	mu    sync.Mutex
	byKey map[string]*shared
}

type shared struct {
	Writer
	users int
}

// Join returns the writer that all users of key share. Each user calls Quit once. A user of the empty key shares with no
// other.
func Join(key string) *Writer {
	if key == "" {
		return new(Writer)
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.byKey == nil {
		registry.byKey = make(map[string]*shared)
	}
	w := registry.byKey[key]
	if w == nil {
		w = new(shared)
		registry.byKey[key] = w
	}
	w.users++
	return &w.Writer
}

// Quit ends one use of key's writer. The last one forgets the key.
func Quit(key string) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if w := registry.byKey[key]; w != nil {
		// A transaction may outlive its database: the next user of the key must find the turn that the transaction holds.
		if w.users--; w.users == 0 && w.Free() {
			delete(registry.byKey, key)
		}
	}
}
