export { createApi, type Api, type ApiOptions } from "./api/create-api.ts";
export * from "./context.ts";
export { administrator, bootstrapAdmin, resetPassword, type BootstrapContext } from "./identity/bootstrap.ts";
