// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestRefusedRoutes(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"tga a b":                              `unrecognized handler "tga"; did you mean "tag"?`,
		"zzzzzz":                               `unrecognized handler "zzzzzz", at Testfile:2`,
		"from a.example":                       "from is a matcher, no handler",
		"@x tag a b":                           "tag is a handler, no matcher",
		"@x frm a.example":                     `did you mean "from"?`,
		"@x":                                   "@x has no matcher",
		"@x from a.example\n@x from b.example": "matcher @x is defined already, at Testfile:2",
		"handle {\n@x from a.example\ndrop\n}\n@x from b.example\ndrop": "matcher @x is defined already",
		"drop @vipp\n@vip from a.example":                               "matcher @vipp is not defined; did you mean @vip?, at Testfile:2",
		"handle {\n drop @y\n}":                                         "matcher @y is not defined, at Testfile:3",
		"reject 250 fine":                                               "refuses nothing",
		"reject 421 bye":                                                "ends the session",
		"reject 550 4.1.1 no":                                           "not of the class",
		"reject 550":                                                    "wrong argument count",
		"reject no way":                                                 "no reply code",
		"reject 550 größe":                                              "plain ASCII",
		"reject 550 " + strings.Repeat("x", 401):                        "more than 400",
		"reject 550 {env.x.y}{nope}":                                    "nope",
		"tag a":                                                         "wrong argument count",
		"tag a b {\n x\n}":                                              "unexpected block",
		"tag \"\" b":                                                    "needs a key",
		"header X-A":                                                    "wrong argument count",
		"header -X-A b":                                                 "wrong argument count",
		"header Received x":                                             "tells the way",
		"header -received":                                              "tells the way",
		"header +Bcc a@b.example":                                       "never sent",
		"header Date x":                                                 "only added where it is missing",
		"header Content-Type text/html":                                 "belongs to the content",
		"header DKIM-Signature x":                                       "signature",
		"header X:A b":                                                  "no name",
		"header X-A \"a\nb\"":                                           "one line",
		"unrouted x":                                                    "wrong argument count",
		"choose_server x":                                               "wrong argument count",
		"classify x":                                                    "wrong argument count",
		"rewrite_from {\n x\n}":                                         "unexpected block",
		"limit 200/day":                                                 "wrong argument count",
		"sign s1":                                                       "wrong argument count",
		"bcc":                                                           "wrong argument count",
		"bcc archive":                                                   "not a mail address",
		"bcc \"\"":                                                      "bcc needs an address",
		"sign":                                                          "belongs into the outbound route",
		"@x purpose bulk\ndrop @x":                                      "no purpose",
		"@x purpose":                                                    "wrong argument count",
		"handle":                                                        "at least one handler",
		"handle x {\n drop\n}":                                          "wrong argument count",
		"choose_server":                                                 "belongs into the outbound route",
		"handle {\n handle {\n capture\n }\n}":                          "belongs into the outbound route",
		"@x size 10MiB\ndrop @x":                                        "compared with > or <",
		"@x size >x\ndrop @x":                                           "no size",
		"@x size >1MB >2MB\ndrop @x":                                    "twice",
		"@x size >2MB <1MB\ndrop @x":                                    "no size is within",
		"@x size":                                                       "wrong argument count",
		"@x from *":                                                     "leave the filter out",
		"@x from @a.example":                                            `write "a.example"`,
		"@x remote_ip 10.0.0":                                           "no address or network",
		"@x remote_ip 10.0.0.0/99":                                      "no network",
		"@x header":                                                     "wrong argument count",
		"@x header !A b":                                                "wrong argument count",
		"@x {\n header A b\n header !A\n}":                              "both be there and not",
		"@x authenticated_as":                                           "wrong argument count",
		"@x listener":                                                   "wrong argument count",
		"@x not":                                                        "not has no matcher",
		"@x not frm a":                                                  `did you mean "from"?`,
		"@x expression size":                                            "gives int, not true or false",
		"@x expression `nope == 1`":                                     "undeclared reference",
		"@x expression `size == \"a\"`":                                 "no matching overload",
		"@x {\n expression true\n expression false\n}": "one expression",
		"@a/b from a.example":                          "no name for a matcher",
	} {
		_, err := build(t, mailflow.Inbound, services(), lines)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant  %s", lines, err, want)
		}
	}
}
