package pgtest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// secret is a password as PostgreSQL keeps it for SCRAM (RFC 5803), with one round of hashing in place of 4096. The rounds
// protect passwords that can be guessed, and ours is random. Under the race detector they take a client 20 milliseconds
// for each connection.
func secret(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	const rounds = 1
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", err
	}
	sign := func(text string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, text(salt), text(stored[:]), text(sign("Server Key"))), nil
}
