/**
 * Certificates of simulated hosts: read for their dates and names alone, since nobody is authenticated in a simulation. All are one
 * certificate, valid for a century, with the address written over: its signature fits none of them, and its key is gone.
 */
const template = Buffer.from(
  "MIIBkDCCATagAwIBAgIUVFE7hRecAjXrOQqdnpo5eFO0k3UwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJc2ltdWxhdGVkMCAXDTI2MTEyNzIxMDkzNVoYDzIxMjYxMTAzMjEwOTM1WjAUMRIwEAYDVQQDDAlzaW11bGF0ZWQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQss6P5XzXlCIS7NUA8puh4MmPOd29VSLSktoNCtDIT9nRFD5KVzb3X3wSIlWm+ipiKwR0NO5eaoRtCKL/ANxWqo2QwYjAdBgNVHQ4EFgQUUyQy0gazQPgiA3xrIKNsakTpZsowHwYDVR0jBBgwFoAUUyQy0gazQPgiA3xrIKNsakTpZsowDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwQKAQIDMAoGCCqGSM49BAMCA0gAMEUCIHPsP+buoJNNS7iGflPQLaOErIbmk9HcMz/0ewupeuaQAiEA5ZBRLeEuZkiMfhu2biiC77K/PtzHgkEfhkYUvye6GXI=",
  "base64",
);
/** Subject alternative name of type iPAddress (RFC 5280, 4.2.1.6), four bytes: where the address stands. */
const addressAt = template.indexOf(Buffer.from([0x87, 4, 10, 1, 2, 3])) + 2;

/** @param address IPv4 */
export function certificateOf(address: string): string {
  const der = Buffer.from(template);
  der.set(address.split(".").map(Number), addressAt);
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
