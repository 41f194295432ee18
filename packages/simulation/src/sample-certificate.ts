/** One certificate for every simulated host: read for its dates alone (nobody is authenticated in a simulation). Valid for a century; its key is gone. */
export const sampleCertificate = `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUDSfr2LVb/Kvir/0DYTP8ZIK2Sc4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJc2ltdWxhdGVkMCAXDTI2MTEyNzE5MjYwN1oYDzIxMjYxMTAz
MTkyNjA3WjAUMRIwEAYDVQQDDAlzaW11bGF0ZWQwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQDUUoJOv5LUQuvh/p7YOVC4VZTqDD6Q3t5ON30R5QkGODLV50Gne7h
7IfekNNwEYHmiM8fVw87F0o5NPJ1WWNMo1MwUTAdBgNVHQ4EFgQU5Wb4JDLRndkZ
0FObBHCXkxfoMwIwHwYDVR0jBBgwFoAU5Wb4JDLRndkZ0FObBHCXkxfoMwIwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB0gqDi5V1jlXdjJFw8Kopb
hf9uWC64xn+ICioYRZLQugIhAPLQga/00ybFac2Uhvh1BmP9trT6g6K26wcT782H
/1sd
-----END CERTIFICATE-----`;
