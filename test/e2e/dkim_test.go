// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const signing = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com {
			dkim s1 s1.pem
			dkim s2 s2.pem
		}
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		smtp %s
	}
}
`

// TestSigned has a gateway make its keys, sign with them, and a far end verify
// what comes by the records that were printed. One far end takes 8-bit mail,
// the other wants it in seven.
func TestSigned(t *testing.T) {
	t.Parallel()
	for name, offers := range map[string][]string{"8BITMIME": nil, "7bit": {"PIPELINING", "SIZE 10485760"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := &mailflowtest.Relay{Offers: offers}
			door := freeAddress(t)
			g := newGateway(t, fmt.Sprintf(signing, far.Start(t), door))
			records := make(map[string]string)
			for selector, kind := range map[string]string{"s1": "rsa", "s2": "ed25519"} {
				stdout, stderr, code := g.run("mail", "dkim", "generate", "mycompany.com", selector, "--type", kind, "--out", selector+".pem", "--json")
				var made struct{ Name, Value string }
				if err := json.Unmarshal([]byte(stdout), &made); code != 0 || err != nil {
					t.Fatalf("dkim generate: exit %d, %v\n%s%s", code, err, stdout, stderr)
				}
				records[strings.TrimSuffix(made.Name, ".")] = made.Value
			}
			g.start()
			g.awaitReady()
			c := mustDial(t, door)
			c.mustSend(t, submission{from: "anna@mycompany.com", to: "bob@example.net", mailParams: "BODY=8BITMIME", content: crlf(
				"From: Anna <anna@mycompany.com>\nTo: bob@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nList-Unsubscribe: <mailto:x@mycompany.com>\n" +
					"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße aus Cluj.\n\n\n")})
			c.quit()
			await(t, "the mail", func() bool { return len(far.Messages()) == 1 })
			content := far.Messages()[0].Content
			verify(t, content, records, 2)
			verify(t, bytes.Replace(content, []byte("From: "), []byte("From: boss@mycompany.com\r\nFrom: "), 1), records, 0)
		})
	}
}

// verify checks the signatures of content, of which so many have to be valid.
func verify(t *testing.T, content []byte, records map[string]string, want int) {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(bytes.NewReader(content), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if r, ok := records[name]; ok {
			return []string{r}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	valid := 0
	for _, v := range vs {
		if v.Err == nil && v.Domain == "mycompany.com" {
			valid++
		}
	}
	if len(vs) != 2 || valid != want {
		t.Errorf("%d of %d signatures are valid, want %d of 2:\n%s", valid, len(vs), want, content)
	}
}
